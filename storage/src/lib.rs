//! streamhouse-storage

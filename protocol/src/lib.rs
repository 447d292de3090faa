//! streamhouse-protocol

//! streamhouse-metadata

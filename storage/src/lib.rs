//! streamhouse-storage

pub mod wal;

//! streamhouse-bench

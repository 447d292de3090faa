//! streamhouse-sim

//! streamhouse-broker

//! streamhouse-compat-tests

//! The rules of the classic protocol, one by one, and all of them against a model.

mod heartbeat;
mod join;
mod leave;
mod model;
mod offsets;
mod reload;
mod static_members;
mod sync;
mod world;

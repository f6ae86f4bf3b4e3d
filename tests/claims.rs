//! At most one child of a room lives in the fleet, whatever befalls pods, nodes and the API server,
//! and every room can be opened again once it is over. The real sessions, claims, takeovers and
//! views run here against the double of the API; only their rooms are the test's. Time is paused.
//!
//! A run takes its course from a number, which a failure tells: `SEED=17 cargo test --features kube
//! --test claims seeds::` takes that course again. `SEEDS=100` says how many courses are taken.

#[path = "double/mod.rs"]
mod double;

#[path = "claims/claiming.rs"]
mod claiming;
#[path = "claims/course.rs"]
mod course;
#[path = "claims/fleet.rs"]
mod fleet;
#[path = "claims/ledger.rs"]
mod ledger;
#[path = "claims/patience.rs"]
mod patience;
#[path = "claims/process.rs"]
mod process;
#[path = "claims/seeds.rs"]
mod seeds;
#[path = "claims/standing.rs"]
mod standing;
#[path = "claims/takeover.rs"]
mod takeover;

//! The figures of a server in a fleet: what it asked of the API server and of other pods.
//!
//! They exist once a server is one of a fleet, so that nobody else sees their names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;

use super::tally::Tally;

/// The handle that the fleet's part counts with; clones count into the same figures.
#[derive(Clone, Default)]
pub struct FleetMetrics(Arc<State>);

#[derive(Default)]
struct State {
    /// By verb, resource and result; all three are words of ours.
    requests: Mutex<BTreeMap<[&'static str; 3], u64>>,
    claims: Tally,
    proxied: Tally,
    transit: Arc<AtomicUsize>,
    session: AtomicBool,
}

impl FleetMetrics {
    pub(super) fn declare(&self, provider: &SdkMeterProvider) {
        let meter = provider.meter("scalesocket");
        let state = Arc::clone(&self.0);
        meter
            .u64_observable_counter("scalesocket_api_requests_total")
            .with_description(
                "Requests to the Kubernetes API by verb, resource and result, without watches.",
            )
            .with_callback(move |out| {
                for ([verb, resource, result], n) in &*state.requests.lock() {
                    let labels = [
                        KeyValue::new("verb", *verb),
                        KeyValue::new("resource", *resource),
                        KeyValue::new("result", *result),
                    ];
                    out.observe(*n, &labels);
                }
            })
            .build();
        self.tally(
            &meter,
            "scalesocket_claims_total",
            "Rooms that were asked for, by result.",
            |state| &state.claims,
        );
        self.tally(
            &meter,
            "scalesocket_proxied_total",
            "Clients that were led to another pod, by result.",
            |state| &state.proxied,
        );
        self.gauge(
            &meter,
            "scalesocket_transit_connections",
            "Clients here whose room is on another pod.",
            |state| state.transit.load(Relaxed) as u64,
        );
        self.gauge(
            &meter,
            "scalesocket_session_valid",
            "1 while this pod holds its session and may run rooms, else 0.",
            |state| state.session.load(Relaxed).into(),
        );
    }

    fn tally(
        &self,
        meter: &Meter,
        name: &'static str,
        help: &'static str,
        read: fn(&State) -> &Tally,
    ) {
        let state = Arc::clone(&self.0);
        meter
            .u64_observable_counter(name)
            .with_description(help)
            .with_callback(move |out| {
                read(&state).each(|result, n| {
                    out.observe(n, &[KeyValue::new("result", result.to_owned())]);
                });
            })
            .build();
    }

    fn gauge(
        &self,
        meter: &Meter,
        name: &'static str,
        help: &'static str,
        read: fn(&State) -> u64,
    ) {
        let state = Arc::clone(&self.0);
        meter
            .u64_observable_gauge(name)
            .with_description(help)
            .with_callback(move |out| out.observe(read(&state), &[]))
            .build();
    }

    /// A request to the API server ended so.
    pub fn api_request(&self, verb: &'static str, resource: &'static str, result: &'static str) {
        let mut requests = self.0.requests.lock();
        *requests.entry([verb, resource, result]).or_default() += 1;
    }

    /// A room was asked for, and so it went.
    pub fn claimed(&self, result: &'static str) {
        self.0.claims.add(result, 1);
    }

    /// A client was to be led to another pod, and so it went.
    pub fn proxied(&self, result: &'static str) {
        self.0.proxied.add(result, 1);
    }

    /// Counts the clients here whose room is on another pod; who leads them there counts with it.
    pub fn transit(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.0.transit)
    }

    /// Whether this pod may run rooms.
    pub fn session_valid(&self, valid: bool) {
        self.0.session.store(valid, Relaxed);
    }
}

impl std::fmt::Debug for FleetMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FleetMetrics").finish_non_exhaustive()
    }
}

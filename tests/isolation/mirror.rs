//! The same upload with a mirror that stands still, through a real Envoy and through
//! Umbra.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    behaviour::upload,
    service::{Gate, LARGE, Service},
};
use crate::support::{
    client::get,
    envoy::{Envoy, Speaks, cluster, listener},
    logs::TestLog,
    pause,
    process::Umbra,
    wait_for,
};

/// How long the mirror stands still.
const FROZEN: Duration = Duration::from_secs(3);

/// An upload while the mirror stands still for so long.
fn while_frozen(gate: &Arc<Gate>, to: std::net::SocketAddr) -> Duration {
    gate.close();
    let begun = Instant::now();
    let opens = Arc::clone(gate);
    let thaw = std::thread::spawn(move || {
        pause(FROZEN.saturating_sub(begun.elapsed()));
        opens.open();
    });
    let took = upload(to, LARGE);
    thaw.join().unwrap();
    took
}

#[test]
fn a_mirror_that_stands_still_stops_envoy_and_not_umbra() {
    let production = Service::start();
    let gate = Arc::new(Gate::default());
    let mirror = Service::gated(Arc::clone(&gate));

    let routes = "[{match: {prefix: /}, route: {cluster: live, timeout: 60s, \
         request_mirror_policies: [{cluster: mirror}]}}]";
    let clusters = [
        cluster("live", production.address, Speaks::Http1),
        cluster("mirror", mirror.address, Speaks::Http1),
    ];
    let envoy = Envoy::start(&[listener("front", routes, "")], &clusters);
    let log = TestLog::file();
    let umbra = Umbra::new("mirror")
        .flag("listen", "127.0.0.1:0")
        .flag("upstream", format!("http://{}", production.address))
        .flag("target", format!("http://{}", mirror.address))
        .flag("log", log.arg())
        .flag("max-body", "32MiB")
        .start();
    // It begins with what is recorded after it has joined.
    wait_for("the mirror takes part", || {
        get(umbra.listen(), "/small");
        pause(Duration::from_millis(50));
        mirror.requests() > 0
    });

    let envoy_at = envoy.address("front");
    let healthy = [upload(envoy_at, LARGE), upload(umbra.listen(), LARGE)];
    wait_for("both copies have come", || mirror.uploads() == 2);
    let frozen = [while_frozen(&gate, envoy_at), while_frozen(&gate, umbra.listen())];
    wait_for("both copies have come", || mirror.uploads() == 4);
    println!("20 MiB to production; the mirror stands still for {FROZEN:?}");
    for (number, name) in ["Envoy", "Umbra"].into_iter().enumerate() {
        println!("{name}: healthy {:.2?}, frozen {:.2?}", healthy[number], frozen[number]);
    }
    assert!(frozen[0] > FROZEN.mul_f64(0.6), "Envoy was to be blocked: {frozen:?}");
    assert!(frozen[1] < healthy[1].mul_f64(1.5) + Duration::from_secs(1), "{healthy:?} {frozen:?}");
    assert!(frozen[1] < frozen[0], "{frozen:?}");
}

//! Real Envoy with a bootstrap of the test's, from the virtual environment that
//! `scripts/test` makes.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Output},
};

use tempfile::TempDir;

use super::{client::get, httpbin::venv, process::Service, wait_for};

/// A running Envoy; ended when dropped.
pub(crate) struct Envoy {
    _service: Service,
    _dir: TempDir,
    admin: SocketAddr,
}

/// What Envoy speaks to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
}

impl Envoy {
    /// Starts it with these listeners and clusters, each an element of the list in
    /// the static resources, and waits until it takes connections. See [`listener`]
    /// and [`cluster`].
    #[track_caller]
    pub(crate) fn start(listeners: &[String], clusters: &[String]) -> Self {
        Self::start_with(&format!(
            "static_resources: {{listeners: [{}], clusters: [{}]}}",
            listeners.join(", "),
            clusters.join(", ")
        ))
    }

    /// Starts it with this bootstrap, which says everything but `admin`.
    #[track_caller]
    pub(crate) fn start_with(bootstrap: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("bootstrap.yaml");
        let admin = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}";
        std::fs::write(&file, format!("{admin}\n{bootstrap}\n")).unwrap();
        let told = dir.path().join("admin");
        let mut command = program();
        command.arg("--config-path").arg(&file).arg("--admin-address-path").arg(&told);
        // Several run beside each other; neither shares memory with another.
        command.args(["--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]);
        let (service, admin) = Service::start(command, |_| {
            std::fs::read_to_string(&told).ok()?.trim().parse::<SocketAddr>().ok()
        });
        wait_for("Envoy is live", || get(admin, "/ready").status() == 200);
        Self { _service: service, _dir: dir, admin }
    }

    /// Where a listener with port 0 listens.
    #[track_caller]
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let shown = get(self.admin, "/listeners?format=json").text();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let found = shown["listener_statuses"].as_array().into_iter().flatten();
        let found = found.into_iter().find(|each| each["name"] == listener);
        let socket = &found.unwrap_or_else(|| panic!("no listener {listener}: {shown}"))["local_address"]
            ["socket_address"];
        format!("{}:{}", socket["address"].as_str().unwrap(), socket["port_value"]).parse().unwrap()
    }

    /// One of its counters or gauges, by its full name.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let shown = get(self.admin, &format!("/stats?filter=^{name}$")).text();
        shown.trim().rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_default()
    }
}

/// Whether Envoy takes this file as its configuration, and what it says.
pub(crate) fn validate(file: &std::path::Path) -> Output {
    let mut command = program();
    command.args(["--mode", "validate", "--config-path"]).arg(file);
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}: run scripts/test"))
}

/// A listener for HTTP/1 and, by prior knowledge, HTTP/2, on a port of its choice.
/// `routes` is a list in YAML's flow style, `settings` go to the connection manager:
/// `listener("front", "[{match: {prefix: /}, route: {cluster: live}}]", "")`.
pub(crate) fn listener(name: &str, routes: &str, settings: &str) -> String {
    let comma = if settings.is_empty() { "" } else { ", " };
    format!(
        "{{name: {name}, address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}, \
         filter_chains: [{{filters: [{{name: envoy.filters.network.http_connection_manager, \
         typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, \
         stat_prefix: {name}{comma}{settings}, \
         route_config: {{virtual_hosts: [{{name: all, domains: [\"*\"], routes: {routes}}}]}}, \
         http_filters: [{{name: envoy.filters.http.router, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}}}]}}}}]}}]}}"
    )
}

/// A cluster of one address.
pub(crate) fn cluster(name: &str, address: SocketAddr, speaks: Speaks) -> String {
    let protocol = match speaks {
        Speaks::Http1 => "http_protocol_options: {enable_trailers: true}",
        Speaks::Http2 => "http2_protocol_options: {}",
    };
    format!(
        "{{name: {name}, connect_timeout: 5s, load_assignment: {{cluster_name: {name}, \
         endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
         {{address: \"{}\", port_value: {}}}}}}}}}]}}]}}, \
         typed_extension_protocol_options: {{envoy.extensions.upstreams.http.v3.HttpProtocolOptions: \
         {{\"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, \
         explicit_http_config: {{{protocol}}}}}}}}}",
        address.ip(),
        address.port()
    )
}

/// The wheel's program; what starts it is replaced by it, so its pid is Envoy's.
fn program() -> Command {
    let path: PathBuf = venv().join("bin/envoy");
    Command::new(path)
}

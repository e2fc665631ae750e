//! Real nginx with a configuration of the test's.

use std::{net::SocketAddr, net::TcpListener, process::Command};

use tempfile::TempDir;

use super::process::Service;

/// A running nginx.
pub(crate) struct Nginx {
    _service: Service,
    _dir: TempDir,
    pub(crate) address: SocketAddr,
    /// Of each server.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Nginx {
    /// Serves `server` (the inside of a server block).
    #[track_caller]
    pub(crate) fn start(server: &str) -> Self {
        Self::start_all(&[server.to_owned()])
    }

    /// Serves each of these on a port of its own.
    #[track_caller]
    pub(crate) fn start_all(servers: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // nginx cannot tell the port it took: free ones are looked for before.
        let free = |_: &String| TcpListener::bind("127.0.0.1:0").unwrap();
        let held: Vec<_> = servers.iter().map(free).collect();
        let addresses: Vec<_> = held.iter().map(|held| held.local_addr().unwrap()).collect();
        drop(held);
        let servers = servers.iter().zip(&addresses);
        let servers: String = servers
            .map(|(server, address)| format!("server {{ listen {address}; {server} }}\n"))
            .collect();
        let at = dir.path().display();
        let config = format!(
            "daemon off; worker_processes 1; error_log stderr notice; pid {at}/pid;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; client_max_body_size 0;
               client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;
               uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
               keepalive_requests 1000000;
               {servers}
             }}"
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(dir.path()).arg("-e").arg("stderr");
        let (service, ()) = Service::start(command, |output| {
            output.contains("start worker process ").then_some(())
        });
        Self { _service: service, _dir: dir, address: addresses[0], addresses }
    }
}

//! Real nginx with a configuration of the test's.

use std::{net::SocketAddr, net::TcpListener, process::Command};

use tempfile::TempDir;

use super::process::Service;

/// A running nginx.
pub(crate) struct Nginx {
    _service: Service,
    _dir: TempDir,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Serves `server` (the inside of a server block).
    #[track_caller]
    pub(crate) fn start(server: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // nginx cannot tell the port it took: a free one is looked for before.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let at = dir.path().display();
        let config = format!(
            "daemon off; worker_processes 1; error_log stderr notice; pid {at}/pid;
             events {{ worker_connections 1024; }}
             http {{
               access_log off; client_max_body_size 0;
               client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;
               uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;
               keepalive_requests 1000000;
               server {{ listen {address}; {server} }}
             }}"
        );
        let file = dir.path().join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(dir.path()).arg("-e").arg("stderr");
        let (service, ()) = Service::start(command, |output| {
            output.contains("start worker process ").then_some(())
        });
        Self { _service: service, _dir: dir, address }
    }
}

//! The admin listener: `/metrics` for Prometheus, `/healthz` (the process lives),
//! `/readyz` (it does its work), `/config` (what it was told, secrets masked), and, where
//! answers are compared, `/report` and `/report.json` (the verdict as of now).

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;
use umbra_compare::report::{Document, Format};

use crate::exit::{Code, Failure};

/// Most admin connections at a time.
const MAX_CONNECTIONS: usize = 64;

/// How long an address that is taken may yet become free.
const TAKEN: Duration = Duration::from_secs(2);

/// What the endpoints show.
pub(crate) struct Shown {
    /// All metrics.
    pub(crate) registry: Registry,
    /// The settings, as YAML.
    pub(crate) config: String,
    /// Whether the process does its work now.
    pub(crate) ready: AtomicBool,
    /// Makes the report as of now, if answers are compared.
    pub(crate) report: Option<MakeReport>,
}

/// Makes a report. Takes a while.
pub(crate) type MakeReport = Box<dyn Fn() -> Option<Document> + Send + Sync>;

impl Shown {
    /// Not ready yet; the registry is still to be filled.
    pub(crate) fn new(config: String) -> Self {
        let mut registry = Registry::default();
        let info = prometheus_client::metrics::info::Info::new(vec![(
            "version",
            env!("CARGO_PKG_VERSION"),
        )]);
        // The crate appends `_info` to the name.
        registry.register("umbra_build", "The build that runs", info);
        Self { registry, config, ready: AtomicBool::new(false), report: None }
    }
}

/// The endpoints, being served.
pub(crate) struct Server {
    /// Where; `None` without `--admin`.
    pub(crate) address: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Server {
    /// Serves at `--admin`, if it was given. A process that is about to end may still
    /// have the address.
    pub(crate) async fn start(
        addresses: Option<&[SocketAddr]>,
        shown: Arc<Shown>,
    ) -> Result<Self, Failure> {
        let mut server =
            Self { address: None, stop: CancellationToken::new(), tasks: JoinSet::new() };
        let Some(addresses) = addresses else { return Ok(server) };
        let give_up = tokio::time::Instant::now() + TAKEN;
        let listener = loop {
            match TcpListener::bind(addresses) {
                Ok(listener) => break listener,
                Err(error)
                    if error.kind() == std::io::ErrorKind::AddrInUse
                        && tokio::time::Instant::now() < give_up =>
                {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    let what = format!("--admin {addresses:?}: {error}");
                    return Err(Failure::new(Code::Unavailable, what));
                }
            }
        };
        server.address = listener.local_addr().ok();
        server.tasks.spawn(serve(listener, shown, server.stop.clone()));
        Ok(server)
    }

    /// Ends it from elsewhere.
    pub(crate) fn stop_signal(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Serves no more.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Serves until stopped.
async fn serve(listener: TcpListener, shown: Arc<Shown>, stop: CancellationToken) {
    let listener =
        listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "admin endpoints cannot be served"),
    };
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: do not spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let shown = Arc::clone(&shown);
        connections.spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let shown = Arc::clone(&shown);
                async move { Ok::<_, Infallible>(respond(shown, request.uri().path()).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = served.await {
                tracing::debug!(%error, "admin connection");
            }
            drop(permit);
        });
    }
}

async fn respond(shown: Arc<Shown>, path: &str) -> Response<Full<Bytes>> {
    let form = match path {
        "/report" => Format::Html,
        "/report.json" => Format::Json,
        _ => return answer(&shown, path),
    };
    // It takes a while, and others wait for this thread.
    let made = tokio::task::spawn_blocking(move || {
        let document = shown.report.as_ref().and_then(|report| report());
        document.map(|document| document.render(form))
    });
    let kind = match form {
        Format::Json => "application/json",
        _ => "text/html; charset=utf-8",
    };
    match made.await {
        Ok(Some(text)) => response(StatusCode::OK, kind, text),
        Ok(None) => response(StatusCode::NOT_FOUND, TEXT, "nothing is compared\n".into()),
        Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, String::new()),
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn answer(shown: &Shown, path: &str) -> Response<Full<Bytes>> {
    const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let (status, kind, body) = match path {
        "/metrics" => {
            let mut text = String::new();
            match encode(&mut text, &shown.registry) {
                Ok(()) => (StatusCode::OK, METRICS, text),
                Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, TEXT, String::new()),
            }
        }
        "/healthz" => (StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" if shown.ready.load(Ordering::Acquire) => {
            (StatusCode::OK, TEXT, "ready\n".into())
        }
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "not ready\n".into()),
        "/config" => (StatusCode::OK, TEXT, shown.config.clone()),
        _ => (StatusCode::NOT_FOUND, TEXT, "/metrics /healthz /readyz /config /report\n".into()),
    };
    response(status, kind, body)
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

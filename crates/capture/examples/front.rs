//! An agent without the rest of the product, to be measured and profiled:
//! `front LISTEN UPSTREAM DIRECTORY [off|head|full]`, until Enter.

use std::{collections::BTreeMap, error::Error, net::TcpListener, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use umbra_capture::{Config, RecordResponses, Stats, Upstream};
use umbra_log::{Address, Log, LogOptions, Mode};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, directory, rest @ ..] = &args[..] else {
        return Err("front LISTEN UPSTREAM DIRECTORY [off|head|full]".into());
    };
    let (host, port) = upstream.split_once(':').ok_or("UPSTREAM is HOST:PORT")?;
    let config = Config {
        upstream: Upstream::tcp(host, port.parse()?),
        routes: Vec::new(),
        sink: None,
        tls: None,
        proxy_protocol: false,
        connect: false,
        selection: Default::default(),
        responses: match rest.first().map(String::as_str) {
            Some("full") => RecordResponses::Full,
            Some("head") => RecordResponses::Head,
            _ => RecordResponses::Off,
        },
        max_body: 10 << 20,
        max_response_body: 64 << 10,
        key: umbra_capture::KeyBy::Auto,
        privacy: umbra_capture::Privacy::default(),
        agent: umbra_capture::new_agent(),
        max_record_body: 900 << 10,
        memory: 128 << 20,
        labels: BTreeMap::new(),
        threads: std::thread::available_parallelism()?.get(),
        connect_timeout: Duration::from_secs(5),
        upstream_timeout: Duration::from_secs(60),
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        max_head: 64 << 10,
        max_headers: 100,
        max_connections: 50_000,
        max_streams: 256,
        open_after: Duration::from_secs(30),
        mark_every: Duration::from_secs(5),
        drain: Duration::from_secs(10),
        spool: None,
    };
    let listener = TcpListener::bind(listen)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let log = runtime.block_on(async {
        let address = Address::File(directory.into());
        Log::open(&address, LogOptions::default(), Mode::Create).await?.appender().await
    })?;
    let (stats, stop) = (Stats::default(), CancellationToken::new());
    let agent = std::thread::spawn({
        let stop = stop.clone();
        move || umbra_capture::run(config, vec![listener.into()], Arc::new(log), stats, stop)
    });
    std::io::stdin().read_line(&mut String::new())?;
    stop.cancel();
    println!("{:#?}", agent.join().map_err(|_| "the agent ended by a fault")??);
    Ok(())
}

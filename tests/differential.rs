//! The same requests through real Envoy, real nginx and the agent to upstreams of one
//! kind: what each of them refuses, what reaches the upstream, and what comes back to
//! the client. What both others refuse the agent must refuse; what both pass on it must
//! pass on, to the byte, but for the differences that docs/differences.md gives reasons
//! for.

mod answers;
mod compare;
mod differences;
mod echo;
mod generated;
mod message;
mod passage;
mod shapes;

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Mutex, time::Instant};

use self::{
    compare::{Deviation, deviations, leanings},
    differences::{DIFFERENCES, tables},
    echo::Echo,
    passage::{Passage, pass},
    shapes::{Script, Shape},
};
use crate::support::{
    envoy::{self, Envoy, Speaks, cluster},
    logs::TestLog,
    nginx::Nginx,
    process::{Running, Umbra},
};

/// Requests run beside each other, each through upstreams of its own, so that what
/// arrives there is known to be of one request.
const LANES: usize = 6;

/// How the proxies are called, in the order in which they stand everywhere.
const PROXIES: [&str; 3] = ["Envoy", "nginx", "the agent"];

/// Which of them it is about.
const AGENT: usize = 2;

/// What one request became, through each proxy.
struct Trial {
    shape: Shape,
    passages: [Passage; 3],
}

/// Three proxies of the same kind of upstream.
struct Lane {
    upstreams: [Echo; 3],
    proxies: [SocketAddr; 3],
}

/// What has to run as long as lanes are used.
struct Proxies {
    _envoy: Envoy,
    _nginx: Nginx,
    agents: Vec<(Running, TestLog)>,
}

#[test]
fn the_agent_passes_on_what_envoy_and_nginx_pass_on_and_nothing_they_refuse() {
    let start = Instant::now();
    let (lanes, proxies) = start_lanes();
    let mut shapes = shapes::by_hand();
    shapes.extend(generated::proper(300));
    shapes.extend(generated::spoilt(240));
    shapes.extend(generated::flipped(300));
    let count = shapes.len();
    let ready = start.elapsed();
    let trials = run(&lanes, shapes);
    println!("{count} requests through three proxies: {:?}, start {ready:?}", start.elapsed());
    for (agent, _log) in proxies.agents {
        assert_eq!(agent.stop().code, Some(0));
    }

    let known = |trial: &Trial, deviation: &Deviation| {
        DIFFERENCES.iter().find(|entry| entry.covers(&trial.shape, deviation))
    };
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for trial in &trials {
        for deviation in deviations(&trial.shape, &trial.passages, AGENT) {
            match known(trial, &deviation) {
                Some(known) => *met.entry(known.id).or_default() += 1,
                None => unexplained.push(format!("{deviation:?} {trial}")),
            }
        }
        for leaning in leanings(&trial.shape, &trial.passages, AGENT) {
            if let Some(known) = known(trial, &leaning) {
                *met.entry(known.id).or_default() += 1;
            }
        }
        for (proxy, passage) in PROXIES.iter().zip(&trial.passages) {
            if passage.silent {
                println!("{proxy} said nothing more to {}", trial.shape.name);
            }
        }
        if trial.passages[AGENT].silent {
            unexplained.push(format!("silence {trial}"));
        }
    }
    println!("differences met: {met:?}");
    assert!(unexplained.is_empty(), "{}:\n{}", unexplained.len(), unexplained.join("\n"));
    let stale = DIFFERENCES.iter().filter(|entry| !met.contains_key(entry.id));
    let stale: Vec<_> = stale.map(|entry| entry.id).collect();
    assert!(stale.is_empty(), "documented, but never met: {stale:?}");
}

/// docs/differences.md holds what the test knows; `UMBRA_REGENERATE` puts it there.
#[test]
fn the_page_of_differences_is_that_of_the_test() {
    const BEGIN: &str = "<!-- tables -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/differences.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (above, below) = page.split_once(BEGIN).unwrap();
    let tables = tables();
    if std::env::var_os("UMBRA_REGENERATE").is_some() {
        std::fs::write(&path, format!("{above}{BEGIN}{tables}")).unwrap();
    } else {
        assert_eq!(below, tables, "run this test with UMBRA_REGENERATE=1");
    }
}

fn start_lanes() -> (Vec<Lane>, Proxies) {
    let upstreams: Vec<[Echo; 3]> =
        (0..LANES).map(|_| [Echo::start(), Echo::start(), Echo::start()]).collect();
    let (envoy, nginx, agents) = std::thread::scope(|scope| {
        let nginx = scope.spawn(|| start_nginx(&upstreams));
        let agents: Vec<_> =
            upstreams.iter().map(|three| scope.spawn(|| start_agent(&three[AGENT]))).collect();
        // Envoy's program ends with the thread that started it.
        let envoy = start_envoy(&upstreams);
        let agents: Vec<_> = agents.into_iter().map(|agent| agent.join().unwrap()).collect();
        (envoy, nginx.join().unwrap(), agents)
    });
    let lane = |(number, upstreams): (usize, [Echo; 3])| Lane {
        upstreams,
        proxies: [
            envoy.address(&format!("lane{number}")),
            nginx.addresses[number],
            agents[number].0.listen(),
        ],
    };
    let lanes = upstreams.into_iter().enumerate().map(lane).collect();
    (lanes, Proxies { _envoy: envoy, _nginx: nginx, agents })
}

/// As transparent as it can be made: no path is normalised, every version is taken.
fn start_envoy(upstreams: &[[Echo; 3]]) -> Envoy {
    let settings = "http_protocol_options: {enable_trailers: true, accept_http_10: true, \
         default_host_for_http_10: svc.example}, upgrade_configs: [{upgrade_type: websocket}], \
         use_remote_address: true, via: envoy";
    let listener = |number: usize| {
        let routes = format!("[{{match: {{prefix: /}}, route: {{cluster: lane{number}}}}}]");
        envoy::listener(&format!("lane{number}"), &routes, settings)
    };
    let cluster = |(number, three): (usize, &[Echo; 3])| {
        cluster(&format!("lane{number}"), three[0].address(), Speaks::Http1)
    };
    let listeners: Vec<_> = (0..LANES).map(listener).collect();
    let clusters: Vec<_> = upstreams.iter().enumerate().map(cluster).collect();
    Envoy::start(&listeners, &clusters)
}

/// The same of nginx.
fn start_nginx(upstreams: &[[Echo; 3]]) -> Nginx {
    let server = |three: &[Echo; 3]| {
        format!(
            "underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
             large_client_header_buffers 8 32k;
             location / {{
                 proxy_pass http://{};
                 proxy_http_version 1.1;
                 proxy_request_buffering off;
                 proxy_buffering off;
                 proxy_set_header Host $http_host;
                 proxy_set_header Connection $http_connection;
                 proxy_set_header Upgrade $http_upgrade;
             }}",
            three[1].address()
        )
    };
    Nginx::start_all(&upstreams.iter().map(server).collect::<Vec<_>>())
}

fn start_agent(upstream: &Echo) -> (Running, TestLog) {
    let log = TestLog::file();
    (Umbra::agent(&log, upstream.address()).flag("threads", "1").start(), log)
}

/// All of them, in lanes; in order again.
fn run(lanes: &[Lane], shapes: Vec<Shape>) -> Vec<Trial> {
    let waiting = Mutex::new(shapes.into_iter().enumerate());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for lane in lanes {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap().next();
                    let Some((number, shape)) = next else { break };
                    let trial = lane.try_out(shape);
                    done.lock().unwrap().insert(number, trial);
                }
                lane.assert_empty();
            });
        }
    });
    done.into_inner().unwrap().into_values().collect()
}

impl Lane {
    fn try_out(&self, shape: Shape) -> Trial {
        let passages = [0, 1, 2].map(|proxy| {
            self.upstreams[proxy].answer(&shape.script);
            pass(&shape, self.proxies[proxy], &self.upstreams[proxy])
        });
        Trial { shape, passages }
    }

    /// Nothing of what was looked at may arrive later.
    fn assert_empty(&self) {
        for (proxy, upstream) in self.upstreams.iter().enumerate() {
            upstream.answer(&Script::default());
            let last =
                Shape::new("last", shapes::head(b"GET /last HTTP/1.1", b""), shapes::Legal::Yes);
            let passage = pass(&last, self.proxies[proxy], upstream);
            assert_eq!(passage.whole().len(), 1, "{}: {passage:?}", PROXIES[proxy]);
        }
    }
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short =
            |bytes: &[u8]| -> String { bytes[..bytes.len().min(600)].escape_ascii().to_string() };
        writeln!(f, "{} ({:?})", self.shape.name, self.shape.legal)?;
        writeln!(f, "    sent       {}", short(&self.shape.bytes))?;
        if !self.shape.script.legal || self.shape.name.starts_with("answer") {
            writeln!(f, "    answered   {}", short(&self.shape.script.bytes))?;
        }
        for (name, passage) in PROXIES.iter().zip(&self.passages) {
            writeln!(f, "    {name:10} {}", short(passage.to_string().as_bytes()))?;
        }
        Ok(())
    }
}

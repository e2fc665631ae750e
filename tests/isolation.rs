//! What is behind the tee cannot hurt production: a log that stands still, a disk or a
//! spool that is full, no memory left, a recorder that is behind, nobody who replays.
//! All of it at once, beside an agent that records nothing and the service itself: the
//! same bytes in the same time, within the memory that was given, and every request
//! that is not in the log told as lost.

mod behaviour;
mod http2;
mod mirror;
mod redacting;
mod service;
mod soak;
mod subject;

use std::time::Instant;

use crate::support::{cluster::Cluster, disk::SmallDisk, wait_for};
use behaviour::{Behaviour, Figures};
use service::Service;
use subject::{Start, Subject};

/// What an agent takes beside `--memory`: the program itself, its buffers of
/// connections and threads, the Kafka client.
const BESIDE_MEMORY: u64 = 64 << 20;

/// Times of one behaviour against another's: this often as long, and this much more.
const RATIO: f64 = 1.5;

#[test]
fn nothing_behind_the_tee_hurts_production() {
    let service = Service::start();
    let cluster = Cluster::start(1, &[]);
    let disk = SmallDisk::mount(128 << 20);
    let kafka = |name: &str| Start::kafka(cluster.log(name));
    let off = Subject::start("records nothing", &service, Start::file().flag("skip-path", "/*"));
    let alone = Subject::start("nobody replays", &service, Start::file());
    let frozen = Subject::start("Kafka frozen", &service, kafka("frozen"));
    let full = kafka("full").flag("spool-max", "1MiB").flag("memory", "16MiB");
    let full = Subject::start("Kafka frozen, spool full", &service, full);
    let behind = kafka("behind").flag("spool", "off").flag("memory", "64MiB");
    let behind = Subject::start("Kafka frozen, recorder behind", &service, behind);
    let tight = Subject::start("no memory left", &service, Start::file().flag("memory", "1MiB"));
    let disk_full = disk.as_ref().map(|disk| {
        let start = Start::file_in(&disk.path().join("log")).flag("memory", "32MiB");
        Subject::start("disk full", &service, start)
    });
    let mut all = vec![&alone, &frozen, &full, &behind, &tight];
    all.extend(&disk_full);

    cluster.freeze(1);
    let since = Instant::now();
    let held = tight.exhaust_memory();
    if let (Some(disk), Some(disk_full)) = (&disk, &disk_full) {
        disk.fill(8192);
        disk_full.upload_until("umbra_capture_lost_total");
    }
    full.upload_until("umbra_capture_lost_total{reason=\"spool_full\"}");
    behind.fall_behind();
    wait_for("records go to the spool", || frozen.metric("umbra_capture_spool_records") > 0.0);

    let mut figures = Figures::default();
    for behaviour in Behaviour::ALL {
        behaviour.measure(&service, &off, &all, &mut figures);
        let late = figures.late(behaviour, off.name, RATIO);
        if !late.is_empty() {
            println!("measured once more: {behaviour:?}: {late:?}");
            behaviour.measure(&service, &off, &all, &mut figures);
        }
    }
    println!("frozen for {:.1?}\n{figures}", since.elapsed());
    for behaviour in Behaviour::ALL {
        let late = figures.late(behaviour, off.name, RATIO);
        assert!(late.is_empty(), "{behaviour:?}: {late:?}\n{figures}");
    }

    // Behind the tee it makes no difference what the client speaks: two states stand for all.
    http2::measure(&off, &[&frozen, &tight], RATIO);

    cluster.thaw(1);
    if let Some(disk) = &disk {
        disk.free();
    }
    held.finish();
    for subject in [off, alone, frozen, full, behind, tight].into_iter().chain(disk_full) {
        subject.accounted_for();
    }
}

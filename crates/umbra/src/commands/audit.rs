//! `umbra audit`: is every request accounted for? Reads the log once and feeds the
//! books ([`ledger`]), which say it.

mod ledger;
mod report;
mod runs;
mod track;

use std::{
    collections::BTreeSet,
    time::{SystemTime, UNIX_EPOCH},
};

use umbra_log::{Log, LogError, Mode};

use self::ledger::{Ledger, Limits, Scope, TooMany};
use super::records::{Item, Records};
use crate::{
    config::{self, Output},
    exit::{Code, Failure, Outcome},
    output,
    settings::Settings,
};

/// Reading begins so much before a window, so that the Marks before it are found.
const BEFORE_NS: u64 = 30_000_000_000;

/// Runs it.
pub(crate) async fn run(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let log = config::log(&mut settings);
    let (from_ns, to_ns) = config::window(&mut settings);
    let log = config::all_there(&settings, log)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;

    let read_from_ns = from_ns.map(|from| from.saturating_sub(BEFORE_NS));
    let mut records = Records::open(&log, read_from_ns, false).await?;
    // Asked for when reading has begun: what was cut meanwhile is among it.
    let cut = cut(&log, read_from_ns).await?;
    let scope = Scope { from_ns, to_ns, cut, read_from_ns };
    let mut ledger = Ledger::new(scope, Limits::default());
    while let Some(item) = records.next().await? {
        match item {
            Item::Record(partition, _, record) => {
                ledger.record(partition, &record).map_err(too_many)?;
            }
            Item::Unreadable(partition, offset, why) => ledger.unreadable(partition, offset, why),
            Item::Missing(partition, from, to, why) => {
                let low = low(&log, partition).await?;
                ledger.hole(partition, from, to, why, to <= low);
            }
        }
    }
    let report = ledger.close(now_ns);
    match form {
        Output::Json => output::json(&report.as_json())?,
        Output::Text => output::text(&report.as_text())?,
    }
    Ok(u8::from(report.missing > 0))
}

/// Partitions that are not read from their first entry ever.
async fn cut(log: &Log, read_from_ns: Option<u64>) -> Result<BTreeSet<u32>, LogError> {
    let begins: Vec<(u32, u64)> = match read_from_ns {
        Some(from) => log.offsets_for_time(from).await?.into_iter().collect(),
        None => log.spans().await?.iter().map(|span| (span.partition, span.low)).collect(),
    };
    Ok(begins.into_iter().filter(|(_, begin)| *begin > 0).map(|(partition, _)| partition).collect())
}

/// The oldest offset the partition keeps now.
async fn low(log: &Log, partition: u32) -> Result<u64, LogError> {
    let spans = log.spans().await?;
    Ok(spans.iter().find(|span| span.partition == partition).map_or(0, |span| span.low))
}

fn too_many(TooMany: TooMany) -> Failure {
    Failure::new(
        Code::Data,
        "this log has more agents, lanes and partitions than can be audited at once: \
         audit windows of it, with --from and --to",
    )
}

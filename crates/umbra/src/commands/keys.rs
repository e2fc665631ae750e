//! `umbra keys`: identities that open sealed values, and the data keys of a log. A data
//! key that is erased takes with it, for good, everything that was sealed with it.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use prost::Message as _;
use serde_json::json;
use umbra_log::{Log, Mode, Table};
use umbra_record::{
    id, pb,
    seal::{TABLE, wrap::Identities},
};

use crate::{
    config::{self, Output},
    exit::{Code, Failure, Outcome},
    output,
    settings::{Settings, values},
};

/// `umbra keys new`.
pub(super) fn new(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    settings.check()?;
    let identities = Identities::generate();
    let recipient = identities.recipients().names().concat();
    match settings.text("out").map(Path::new) {
        Some(path) => {
            keep(path, &identities.to_file())?;
            match form {
                Output::Json => {
                    output::json(&json!({ "recipient": recipient, "file": path }))?;
                }
                Output::Text => output::text(&format!("{recipient}\n"))?,
            }
        }
        None if form == Output::Json => {
            output::json(&json!({ "recipient": recipient, "identity": identities.to_file() }))?;
        }
        None => output::text(&identities.to_file())?,
    }
    Ok(0)
}

/// An identity is never written over another: what that one opens would be lost.
fn keep(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let kept =
        file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    kept.map_err(|error| {
        let shown = path.display();
        match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(
                Code::Usage,
                format!(
                    "{shown} is there already: what it opens would be lost, so take another name"
                ),
            ),
            _ => Failure::new(Code::Disk, format!("cannot write {shown}: {error}")),
        }
    })
}

/// A data key of a log.
struct Key {
    id: String,
    /// Absent: its entry is damaged.
    entry: Option<pb::DataKey>,
}

impl Key {
    fn created(&self) -> Option<Timestamp> {
        let ns = self.entry.as_ref().map(|entry| entry.created_ns).filter(|ns| *ns > 0)?;
        Timestamp::from_nanosecond(i128::from(ns)).ok()
    }

    /// The day it is named after, or was made on.
    fn day(&self) -> Option<Date> {
        let named = self.id.get(..10).and_then(|day| day.parse().ok());
        named.or_else(|| Some(self.created()?.to_zoned(TimeZone::UTC).date()))
    }

    fn as_json(&self) -> serde_json::Value {
        let recipients = self.entry.as_ref().map(|entry| &entry.recipients[..]);
        json!({
            "id": self.id,
            "agent": self.agent(),
            "created": self.created().map(|at| at.to_string()),
            "recipients": recipients.unwrap_or_default(),
            "damaged": self.entry.is_none(),
        })
    }

    fn agent(&self) -> Option<String> {
        self.entry.as_ref().map(|entry| id::text(&entry.agent))
    }

    fn as_text(&self) -> String {
        let Some(entry) = &self.entry else { return format!("{}  (damaged)\n", self.id) };
        format!(
            "{}  since {}  by agent {}  for {}\n",
            self.id,
            self.created().map_or_else(|| "?".to_owned(), |at| at.to_string()),
            id::text(&entry.agent),
            entry.recipients.join(", ")
        )
    }
}

async fn read(table: &Table) -> Result<Vec<Key>, Failure> {
    let all: BTreeMap<_, _> = table.read_all().await?;
    let key =
        |(id, entry): (String, bytes::Bytes)| Key { id, entry: pb::DataKey::decode(entry).ok() };
    Ok(all.into_iter().map(key).collect())
}

/// `umbra keys list`.
pub(super) async fn list(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let log = config::log(&mut settings);
    let log = config::all_there(&settings, log)?;
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;
    let table = log.table_if_any(TABLE).await?;
    let keys = read(&table).await?;
    match form {
        Output::Json => {
            let keys: Vec<_> = keys.iter().map(Key::as_json).collect();
            output::json(&json!({ "store": table.name(), "keys": keys }))?;
        }
        Output::Text if keys.is_empty() => {
            output::text(&format!("there are no data keys in {}\n", table.name()))?;
        }
        Output::Text => output::text(&keys.iter().map(Key::as_text).collect::<String>())?,
    }
    Ok(0)
}

/// Which data keys are meant: those of which any of this holds.
struct Meant {
    ids: Vec<String>,
    before_ns: Option<u64>,
    day: Option<Date>,
}

impl Meant {
    fn read(settings: &mut Settings) -> Self {
        let ids = settings.texts("id").to_vec();
        let before_ns = settings.read("before", values::instant);
        let day = settings.read("day", |text| {
            text.parse::<Date>().map_err(|_| "expected a day such as 2026-11-22".to_owned())
        });
        if !["id", "before", "day"].iter().any(|name| settings.given(name)) {
            settings.trouble("which keys? Say --id, --before or --day");
        }
        Self { ids, before_ns, day }
    }

    fn is(&self, key: &Key) -> bool {
        let created = key.entry.as_ref().map(|entry| entry.created_ns).filter(|ns| *ns > 0);
        self.ids.contains(&key.id)
            || self.before_ns.is_some_and(|before| created.is_some_and(|at| at < before))
            || self.day.is_some() && self.day == key.day()
    }
}

/// `umbra keys erase`.
pub(super) async fn erase(mut settings: Settings) -> Outcome {
    let form = config::output(&mut settings);
    let log = config::log(&mut settings);
    let meant = Meant::read(&mut settings);
    let yes = settings.on("yes");
    let log = config::all_there(&settings, log)?;
    let log = Log::open(&log.address, log.options, Mode::Existing).await?;
    let table = log.table_if_any(TABLE).await?;
    let (gone, kept): (Vec<Key>, Vec<Key>) =
        read(&table).await?.into_iter().partition(|key| meant.is(key));
    let unknown = meant.ids.iter().find(|id| !gone.iter().any(|key| &key.id == *id));
    if let Some(id) = unknown {
        let words = format!("there is no key {id} in {}: nothing was erased", table.name());
        return Err(Failure::new(Code::NoInput, words));
    }
    if !yes && !gone.is_empty() {
        return Err(Failure::new(Code::Usage, warning(&table, &gone)));
    }
    let ids: Vec<String> = gone.iter().map(|key| key.id.clone()).collect();
    table.remove(&ids).await?;
    match form {
        Output::Json => {
            let object = json!({ "store": table.name(), "erased": ids, "kept": kept.len() });
            output::json(&object)?;
        }
        Output::Text => {
            output::text(&format!("erased {} of {} keys\n", gone.len(), gone.len() + kept.len()))?;
            if !gone.is_empty() {
                output::text(aftermath(&table))?;
            }
        }
    }
    Ok(0)
}

fn warning(table: &Table, gone: &[Key]) -> String {
    let list: String = gone.iter().map(|key| format!("  {}", key.as_text())).collect();
    format!(
        "nothing was erased yet. Everything that was sealed with these {} keys of {} would be \
         lost for good, and what agents that still run seal with them from now on:\n{list}say \
         --yes to erase them",
        gone.len(),
        table.name()
    )
}

/// What of them is left elsewhere.
fn aftermath(table: &Table) -> &'static str {
    match table {
        Table::File(_) => {
            "their files are removed; copies of that directory, such as backups, are not\n"
        }
        Table::Kafka(_) => {
            "nobody who reads the topic gets them any more; the brokers remove the bytes when they \
             compact it, within some minutes as the topic was created; copies of it, such as \
             mirrors and backups, are not removed\n"
        }
    }
}

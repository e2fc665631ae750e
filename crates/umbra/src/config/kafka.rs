//! The settings of a log on Kafka: librdkafka's properties with secrets from files
//! and the environment, the command that prints tokens, and how a topic is made
//! that is not there yet.

use std::{collections::BTreeMap, time::Duration};

use umbra_log::LogOptions;

use crate::settings::{Settings, values};

/// Largest file a property is read from: a chain of certificates.
const MAX_FILE: u64 = 1 << 20;

/// Reads what every user of a log may say.
pub(super) fn connection(settings: &mut Settings, options: &mut LogOptions) {
    for text in settings.texts("kafka").to_vec() {
        match property(&text) {
            Ok((key, value)) => {
                options.kafka.insert(key, value);
            }
            Err(what) => settings.problem("kafka", what),
        }
    }
    options.token_command = settings.text("kafka-token-command").map(str::to_owned);
    if options.token_command.as_ref().is_some_and(|command| command.trim().is_empty()) {
        settings.problem("kafka-token-command", "is empty");
    }
    for problem in umbra_log::kafka::problems(&options.kafka) {
        settings.problem("kafka", problem);
    }
    let tokens = ["sasl.mechanism", "sasl.mechanisms"]
        .iter()
        .find_map(|key| options.kafka.get(*key))
        .map(|mechanism| mechanism.eq_ignore_ascii_case("OAUTHBEARER"));
    match (tokens, &options.token_command) {
        (Some(true), None) => settings.problem(
            "kafka",
            "sasl.mechanism=OAUTHBEARER needs tokens: --kafka-token-command prints them",
        ),
        (Some(false), Some(_)) => settings.problem(
            "kafka-token-command",
            "is for sasl.mechanism=OAUTHBEARER, and --kafka names another one",
        ),
        _ => {}
    }
}

/// Reads how a topic is made.
pub(super) fn topic(settings: &mut Settings, options: &mut LogOptions) {
    let number = |settings: &mut Settings, name: &str| {
        let number = settings.read(name, values::count)?;
        if number > 100 {
            settings.problem(name, "more than 100");
        }
        u32::try_from(number).ok()
    };
    options.replicas = number(settings, "replicas");
    let min_insync = number(settings, "min-insync");
    if let (Some(replicas), Some(min_insync)) = (options.replicas, min_insync)
        && min_insync > replicas
    {
        settings.problem("min-insync", format!("is more than --replicas {replicas}"));
    }
    let mut topic = BTreeMap::new();
    if let Some(min_insync) = min_insync {
        topic.insert("min.insync.replicas".to_owned(), min_insync.to_string());
    }
    if let Some(age) = options.retain_age {
        topic.insert("retention.ms".to_owned(), millis(age).to_string());
    }
    if let Some(bytes) = options.retain_bytes {
        // Kafka counts the bytes of each partition.
        let share = (bytes / u64::from(options.partitions.max(1))).max(1);
        topic.insert("retention.bytes".to_owned(), share.to_string());
    }
    for (key, value) in settings.read_all("topic", values::pair) {
        match refused(&key, &value) {
            Some(why) => settings.problem("topic", format!("{key}={value}: {why}")),
            None => {
                topic.insert(key, value);
            }
        }
    }
    options.topic = topic;
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Why a topic of ours may not have this setting.
fn refused(key: &str, value: &str) -> Option<&'static str> {
    match key {
        "message.timestamp.type" if value != "CreateTime" => {
            Some("a record's time is the time its request was captured")
        }
        "cleanup.policy" if value != "delete" => {
            Some("compaction would remove requests that share a key")
        }
        _ => None,
    }
}

/// `KEY=VALUE`, `KEY=@FILE` or `KEY=env:NAME`. What may be a secret is not in the
/// error.
fn property(text: &str) -> Result<(String, String), String> {
    let (key, value) = values::pair(text).map_err(|what| {
        format!("`{}`: {what}", text.split(['=', ':', ' ']).next().unwrap_or(""))
    })?;
    let value = if let Some(literal) = value.strip_prefix("@@") {
        format!("@{literal}")
    } else if let Some(path) = value.strip_prefix('@') {
        file(path).map_err(|why| format!("{key}: {path}: {why}"))?
    } else if let Some(name) = value.strip_prefix("env:") {
        std::env::var(name).map_err(|_| format!("{key}: the environment has no variable {name}"))?
    } else {
        value
    };
    Ok((key, value))
}

/// The text of a file, without the end of its last line.
fn file(path: &str) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err("larger than 1 MiB".into());
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::property;

    #[test]
    fn secrets_come_from_files_and_the_environment_and_are_in_no_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        std::fs::write(&path, "s3cret\n").expect("written");
        let read = |text: &str| property(text).map(|(_, value)| value);
        let from_file = format!("sasl.password=@{}", path.display());
        assert_eq!(read(&from_file).as_deref(), Ok("s3cret"));
        assert_eq!(read("sasl.password=@@x").as_deref(), Ok("@x"));
        assert_eq!(read("sasl.password=a=b").as_deref(), Ok("a=b"));
        let manifest = read("client.id=env:CARGO_PKG_NAME");
        assert_eq!(manifest.as_deref(), Ok("umbra"));
        for (text, about) in [
            ("sasl.password=@/no/such/file", "/no/such/file"),
            ("sasl.password=env:NO_SUCH_VARIABLE", "NO_SUCH_VARIABLE"),
            ("sasl.password:s3cret", "KEY=VALUE"),
            ("sasl.password s3cret", "KEY=VALUE"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(about) && !why.contains("s3cret"), "{why}");
        }
    }
}

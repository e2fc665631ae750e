//! What the brokers know of a group of readers, asked from outside: its progress,
//! its members, and when the records were written that it has come to.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode as Code},
    groups::GroupMemberInfo,
};
use tokio::task::spawn_blocking;

use super::{
    admin::Admin,
    client::{Watch, explain, passes_alone, sorted},
    tail::time_ns,
};
use crate::{GroupProgress, GroupState, LogError, Member, progress::Checkpoint};

/// Longest wait for a record at a time.
const SLICE: Duration = Duration::from_millis(100);
/// An assignment needs a group's name even where none is joined.
const NO_GROUP: &str = "umbra-reader";
/// More partitions than a topic can sensibly have: a member that tells more tells
/// nothing of ours.
const MOST: i32 = 100_000;

/// Asks for everything that is known of a group.
pub(super) async fn look(
    admin: &Arc<Admin>,
    topic: &str,
    partitions: u32,
    group: &str,
) -> Result<GroupState, LogError> {
    let (topic, group) = (topic.to_owned(), group.to_owned());
    let doing = format!("asking about the group {group}");
    blocking(admin, doing, move |admin| {
        // Progress is asked for in the group's name, without joining it.
        let mut config = admin.properties().reader();
        config.set("group.id", &group);
        let client: BaseConsumer<Watch> =
            config.create_with_context(admin.properties().watch().member(&group))?;
        Watch::sign_in(&client);
        let mut list = TopicPartitionList::with_capacity(partitions as usize);
        for partition in 0..partitions {
            list.add_partition(&topic, partition as i32);
        }
        let committed = client.committed_offsets(list, admin.timeout())?;
        let mut state = GroupState::default();
        for one in committed.elements() {
            one.error()?;
            if let (Ok(partition), Offset::Offset(offset)) =
                (u32::try_from(one.partition()), one.offset())
            {
                state.partitions.insert(partition, progress(offset, one.metadata()));
            }
        }
        let groups = client.fetch_group_list(Some(&group), admin.timeout())?;
        for one in groups.groups().iter().filter(|one| one.name() == group) {
            state.members = one.members().iter().map(|one| member(one, &topic)).collect();
        }
        Ok(state)
    })
    .await
}

/// What another tool committed is an offset like any other.
fn progress(offset: i64, metadata: &str) -> GroupProgress {
    let offset = offset.max(0) as u64;
    Checkpoint::parse(offset, metadata).unwrap_or_else(|_| Checkpoint::fresh(offset)).into()
}

fn member(told: &GroupMemberInfo, topic: &str) -> Member {
    let held = told.assignment().unwrap_or_default();
    let partitions = assignment(held, topic).unwrap_or_else(|why| {
        tracing::warn!(member = told.id(), "what it holds cannot be read: {why}");
        Vec::new()
    });
    Member {
        id: told.id().to_owned(),
        instance: instance(told.id(), told.client_id()),
        client: told.client_id().to_owned(),
        host: told.client_host().trim_start_matches('/').to_owned(),
        partitions,
    }
}

/// The brokers name a member after its instance id, or after its client if it has
/// none, and append a UUID.
fn instance(id: &str, client: &str) -> Option<String> {
    const UUID: usize = 36;
    let name = id.get(..id.len().checked_sub(UUID + 1)?)?;
    (!name.is_empty() && name != client).then(|| name.to_owned())
}

/// Partitions of the topic in an assignment of the classic consumer protocol:
/// version, then an array of topics with their partitions.
fn assignment(bytes: &[u8], topic: &str) -> Result<Vec<u32>, &'static str> {
    // Nothing is assigned while the group is being rebalanced.
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let mut rest = Reader(bytes);
    let _version = rest.int16()?;
    let mut held = Vec::new();
    for _ in 0..rest.count()? {
        let length = usize::try_from(rest.int16()?).map_err(|_| "a topic without a name")?;
        let ours = rest.take(length)? == topic.as_bytes();
        for _ in 0..rest.count()? {
            let partition = u32::try_from(rest.int32()?).map_err(|_| "a negative partition")?;
            if ours {
                held.push(partition);
            }
        }
    }
    held.sort_unstable();
    Ok(held)
}

/// Big-endian numbers of bytes that may end anywhere.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it ends early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn int16(&mut self) -> Result<i16, &'static str> {
        self.0.split_first_chunk().map_or(Err("it ends early"), |(taken, rest)| {
            self.0 = rest;
            Ok(i16::from_be_bytes(*taken))
        })
    }

    fn int32(&mut self) -> Result<i32, &'static str> {
        self.0.split_first_chunk().map_or(Err("it ends early"), |(taken, rest)| {
            self.0 = rest;
            Ok(i32::from_be_bytes(*taken))
        })
    }

    /// Length of an array; none at all is -1.
    fn count(&mut self) -> Result<i32, &'static str> {
        let count = self.int32()?;
        if count > MOST { Err("it is too long") } else { Ok(count) }
    }
}

/// Makes the brokers forget a group.
pub(super) async fn delete(admin: &Arc<Admin>, group: &str) -> Result<(), LogError> {
    let brokers = admin.properties().brokers();
    let doing = format!("deleting the group {group}");
    let client: AdminClient<Watch> = admin.admin()?;
    let options = AdminOptions::new()
        .request_timeout(Some(admin.timeout()))
        .operation_timeout(Some(admin.timeout()));
    let results = client.delete_groups(&[group], &options).await;
    // Closing a client waits for its threads.
    let told = client.inner().context().take_last();
    let _ = spawn_blocking(move || drop(client)).await;
    let results = results.map_err(|error| explain(&doing, brokers, &error, told))?;
    for result in results {
        match result {
            Ok(_) | Err((_, Code::GroupIdNotFound)) => {}
            Err((_, Code::NonEmptyGroup)) => {
                return Err(LogError::Held(format!("the group {group} has members")));
            }
            Err((_, code)) => {
                return Err(sorted(code, format!("{doing} (Kafka at {brokers}): {code}")));
            }
        }
    }
    Ok(())
}

/// The times of these records.
pub(super) async fn times_at(
    admin: &Arc<Admin>,
    topic: &str,
    offsets: BTreeMap<u32, u64>,
    deadline: Duration,
) -> Result<BTreeMap<u32, u64>, LogError> {
    if offsets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let topic = topic.to_owned();
    let deadline = Instant::now() + deadline;
    blocking(admin, format!("reading the topic {topic}"), move |admin| {
        let mut config = admin.properties().reader();
        // One record each is wanted.
        config.set("group.id", NO_GROUP).set("queued.min.messages", "1");
        let client: BaseConsumer<Watch> = config.create_with_context(admin.properties().watch())?;
        let mut at = TopicPartitionList::new();
        for (&partition, &offset) in &offsets {
            at.add_partition_offset(&topic, partition as i32, Offset::Offset(offset as i64))?;
        }
        client.assign(&at)?;
        let (mut times, mut waiting) = (BTreeMap::new(), offsets);
        while !waiting.is_empty() && Instant::now() < deadline {
            match client.poll(SLICE) {
                Some(Ok(message)) => {
                    let partition = message.partition() as u32;
                    if waiting.remove(&partition).is_some() {
                        times.insert(partition, time_ns(message.timestamp()));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    waiting.remove(&(partition as u32));
                }
                // Retention was faster: the time of what is gone is not known.
                Some(Err(KafkaError::MessageConsumption(
                    Code::AutoOffsetReset | Code::OffsetOutOfRange,
                ))) => {}
                Some(Err(error)) if passes_alone(&error) => {}
                Some(Err(error)) => return Err(error),
                None => {}
            }
        }
        Ok(times)
    })
    .await
}

async fn blocking<T: Send + 'static>(
    admin: &Arc<Admin>,
    doing: String,
    call: impl FnOnce(&Admin) -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, LogError> {
    let asked = Arc::clone(admin);
    spawn_blocking(move || call(&asked))
        .await
        .map_err(|stopped| LogError::Unreachable(format!("{doing}: {stopped}")))?
        .map_err(|error| explain(&doing, admin.properties().brokers(), &error, None))
}

#[cfg(test)]
mod tests;

//! Every promise of a log, stated once and checked on every implementation: each
//! function of [`writing`], [`reading`], [`progress`], [`groups`], [`journals`] and
//! [`tables`] is one. Tests
//! of a log run them all through [`conformance_suite!`](crate::conformance_suite).
//!
//! Not part of the product; public so that integration tests can use it. A promise
//! that does not hold panics.

pub mod groups;
pub mod journals;
pub mod progress;
pub mod reading;
pub mod tables;
pub mod writing;

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{
    Address, Append, Appender, Delivery, Entry, Event, Log, LogOptions, LogTail, Mode, Position,
    Rejected, Start, Tail, TailOptions,
};

/// Longest wait for anything that must happen.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// How long nothing must happen for it to be believed that nothing will.
const SILENCE: Duration = Duration::from_millis(400);

/// No offsets.
const NOTHING: [u64; 0] = [];

/// What the suite runs on.
pub trait Subject: Send + Sync {
    /// Where a log may be made that does not exist yet. The same name within one
    /// subject is the same log.
    fn address(&self, name: &str) -> Address;

    /// How logs are opened; partitions are overridden.
    fn options(&self) -> LogOptions {
        LogOptions::default()
    }
}

/// Makes a test of each promise. `$subject` is an expression that makes a
/// [`Subject`] whose logs nobody else uses.
#[macro_export]
macro_rules! conformance_suite {
    ($subject:expr) => {
        $crate::conformance_suite!(@ $subject;
            writing::each_partition_keeps_its_order_and_each_record_comes_once
            writing::producers_side_by_side_keep_their_order
            writing::payload_and_time_come_as_they_were_given
            writing::too_large_is_told_with_the_limit
            writing::positions_count_and_become_durable
            writing::a_full_queue_gives_the_entry_back_and_takes_it_later
            writing::a_log_goes_on_where_it_was_closed
            writing::spans_tell_what_is_there
            writing::a_log_that_is_not_there_is_not_found
            reading::an_empty_log_is_caught_up_with
            reading::caught_up_is_told_after_the_records_it_covers
            reading::latest_begins_with_what_comes
            reading::at_begins_there_and_elsewhere_at_zero
            reading::a_time_is_found_and_nothing_before_it_is_as_new
            reading::next_may_be_cancelled
            reading::undone_deliveries_bound_what_is_read_ahead
            reading::what_is_uncounted_holds_nobody_up
            reading::a_finished_partition_is_left_alone
            reading::readers_of_different_groups_do_not_meet
            progress::what_is_done_does_not_come_again
            progress::progress_wins_over_the_start
            progress::what_is_not_done_comes_again_and_settled_runs_do_not
            progress::after_a_crash_what_may_be_done_is_marked
            progress::progress_is_committed_without_being_asked
            progress::deliveries_may_be_settled_anywhere_in_any_order
            progress::a_dropped_delivery_comes_once_more_and_is_then_set_aside
            progress::long_reads_renew_their_reservation
            progress::what_was_read_ahead_and_not_seen_is_no_attempt
            progress::what_is_given_back_untouched_is_no_attempt
            progress::what_is_given_back_untouched_comes_again_as_it_was
            groups::a_note_is_handed_to_the_next_reader
            groups::a_note_alone_is_committed
            groups::a_note_that_is_too_long_is_refused
            groups::a_group_is_seen_from_outside
            groups::a_group_is_forgotten_when_nobody_reads
            groups::the_time_of_a_record_is_found
            journals::a_journal_keeps_every_entry_in_one_order
            journals::a_journal_can_be_followed
            tables::a_table_keeps_the_last_value_of_each_key
            tables::what_is_removed_from_a_table_is_gone
            tables::a_table_takes_what_fits_a_name_and_its_bounds
        );
    };
    (@ $subject:expr; $($module:ident :: $promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let subject = $subject;
                $crate::conformance::$module::$promise(&subject).await;
            }
        )*
    };
}

/// A log of the suite, with what is written to it.
struct Bench<'a> {
    subject: &'a dyn Subject,
    name: &'a str,
    log: Log,
}

impl<'a> Bench<'a> {
    /// A new log of so many partitions.
    async fn new(subject: &'a dyn Subject, name: &'a str, partitions: u32) -> Self {
        Self::with(subject, name, LogOptions { partitions, ..subject.options() }).await
    }

    async fn with(subject: &'a dyn Subject, name: &'a str, options: LogOptions) -> Self {
        let log = Log::open(&subject.address(name), options, Mode::Create).await;
        Self { subject, name, log: log.expect("a new log can be made") }
    }

    /// The same log, opened to read by somebody else.
    async fn again(&self) -> Log {
        let address = self.subject.address(self.name);
        let log = Log::open(&address, self.subject.options(), Mode::Existing).await;
        log.expect("the log can be opened to read")
    }

    async fn writer(&self) -> Writer {
        Writer(self.log.appender().await.expect("the log can be written"))
    }

    async fn reader(&self, group: Option<&str>, start: Start) -> Reader {
        self.reader_with(TailOptions {
            group: group.map(|group| format!("{}.{group}", self.name)),
            start,
            ..TailOptions::default()
        })
        .await
    }

    async fn reader_with(&self, options: TailOptions) -> Reader {
        let tail = self.again().await.tail(options).await;
        Reader(tail.expect("the log can be read"))
    }
}

/// Appends texts.
struct Writer(Appender);

impl Writer {
    fn try_append(
        &self,
        partition: u32,
        time_ns: u64,
        payload: &[u8],
    ) -> Result<Position, Rejected> {
        self.0.enqueue(&Entry {
            partition,
            time_ns,
            key: b"key",
            headers: &[("umbra-kind", b"request")],
            payload,
            weight: 1,
        })
    }

    fn append(&self, partition: u32, text: &str) -> Position {
        self.try_append(partition, now_ns(), text.as_bytes()).expect("there is room")
    }

    /// Appends `COUNT` texts, each its number.
    fn append_numbers(&self, partition: u32, numbers: std::ops::Range<u64>) {
        for number in numbers {
            self.append(partition, &number.to_string());
        }
    }

    /// Appends even if the queue is full meanwhile.
    async fn append_patiently(&self, partition: u32, payload: &[u8]) -> Position {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        loop {
            match self.try_append(partition, now_ns(), payload) {
                Ok(position) => return position,
                Err(Rejected::Full) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(other) => panic!("{other}"),
            }
            assert!(tokio::time::Instant::now() < deadline, "the queue stays full");
        }
    }

    async fn flush(&self) {
        self.0.flush(DEADLINE).await.expect("what was accepted becomes durable");
        assert_eq!(self.0.losses(), [], "nothing was lost");
    }
}

/// Reads with a deadline.
struct Reader(LogTail);

impl Reader {
    async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(DEADLINE, self.0.next()).await;
        event.expect("something is delivered in time").expect("the log can be read")
    }

    /// The next event, if one comes before it seems that none will.
    async fn event_if_any(&mut self) -> Option<Event> {
        let event = tokio::time::timeout(SILENCE, self.0.next()).await.ok()?;
        Some(event.expect("the log can be read"))
    }

    /// The next delivery; passes news of other kinds.
    async fn delivery(&mut self) -> Delivery {
        loop {
            match self.event().await {
                Event::Delivery(delivery) => return delivery,
                Event::Assigned(_) | Event::CaughtUp { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        while deliveries.len() < count {
            deliveries.push(self.delivery().await);
        }
        deliveries
    }

    /// All deliveries until these partitions are caught up with to these offsets.
    async fn up_to(&mut self, ends: &[(u32, u64)]) -> Vec<Delivery> {
        let mut left: BTreeMap<u32, u64> = ends.iter().copied().collect();
        let mut deliveries = Vec::new();
        while !left.is_empty() {
            match self.event().await {
                Event::Delivery(delivery) => deliveries.push(delivery),
                Event::CaughtUp { partition, offset } => {
                    if left.get(&partition).is_some_and(|end| offset >= *end) {
                        left.remove(&partition);
                    }
                }
                Event::Assigned(_) => {}
                other => panic!("{other:?}"),
            }
        }
        deliveries
    }

    async fn close(self) {
        self.0.close(DEADLINE).await.expect("progress is kept");
    }
}

/// Text of a delivery.
fn text(delivery: &Delivery) -> &str {
    std::str::from_utf8(&delivery.payload).expect("the suite writes text")
}

/// Offsets of deliveries.
fn offsets(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.offset).collect()
}

fn settle(deliveries: Vec<Delivery>) {
    for delivery in deliveries {
        delivery.done();
    }
}

/// Now, to the millisecond, for Kafka keeps no more.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    since.as_millis() as u64 * 1_000_000
}

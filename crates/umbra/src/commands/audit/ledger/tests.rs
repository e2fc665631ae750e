use umbra_record::pb::LaneRange;

use super::{super::report::Audited, *};

const SECOND: u64 = 1_000_000_000;
/// When the agents of these tests begin.
const START: u64 = 1_700_000_000 * SECOND;

/// An agent that began `s` seconds after the start; `n` tells those of one second apart.
fn agent(s: u64, n: u8) -> Vec<u8> {
    let ms = (START + s * SECOND) / 1_000_000;
    let mut id = ms.to_be_bytes()[2..].to_vec();
    id.extend([0x70, n, 0x80, 0, 0, 0, 0, 0, 0, n]);
    id
}

fn record(lane: u32, sequence: u64, body: Body) -> pb::Record {
    let agent = agent(0, 0).into();
    pb::Record { agent, lane, sequence, body: Some(body), ..pb::Record::default() }
}

fn request(lane: u32, sequence: u64, s: u64) -> pb::Record {
    let start_ns = START + s * SECOND;
    record(lane, sequence, Body::Request(pb::Request { start_ns, ..pb::Request::default() }))
}

fn mark_of(s: u64) -> pb::Mark {
    let at_ns = START + s * SECOND;
    pb::Mark { at_ns, low_ns: at_ns, lanes: 1, host: "web".into(), ..pb::Mark::default() }
}

fn mark(lane: u32, sequence: u64, s: u64) -> pb::Record {
    record(lane, sequence, Body::Mark(mark_of(s)))
}

fn last_mark(lane: u32, sequence: u64, s: u64) -> pb::Record {
    record(lane, sequence, Body::Mark(pb::Mark { r#final: true, ..mark_of(s) }))
}

fn gap(lane: u32, sequence: u64, requests: u64, ranges: &[(u32, u32, u64, u64)]) -> pb::Record {
    let ranges = ranges.iter().map(|&(lane, partition, first, last)| LaneRange {
        lane,
        partition,
        first,
        last,
    });
    let gap = pb::Gap {
        requests,
        reason: "log_failed".into(),
        from_ns: START + SECOND,
        to_ns: START + 2 * SECOND,
        ranges: ranges.collect(),
    };
    record(lane, sequence, Body::Gap(gap))
}

/// Books of a log that is read from its beginning.
fn books() -> Ledger {
    Ledger::new(Scope::default(), Limits::default())
}

fn cut_books(partitions: &[u32]) -> Ledger {
    let cut = partitions.iter().copied().collect();
    Ledger::new(Scope { cut, ..Scope::default() }, Limits::default())
}

fn window_books(from: Option<u64>, to: Option<u64>) -> Ledger {
    let at = |s: u64| START + s * SECOND;
    let (from_ns, to_ns) = (from.map(at), to.map(at));
    let scope = Scope { from_ns, to_ns, ..Scope::default() };
    Ledger::new(scope, Limits::default())
}

fn feed(books: &mut Ledger, partition: u32, records: impl IntoIterator<Item = pb::Record>) {
    for record in records {
        books.record(partition, &record).unwrap();
    }
}

/// Long after everything.
fn close(books: Ledger) -> Report {
    books.close(START + 1_000_000 * SECOND)
}

fn only(report: &Report) -> &Audited {
    assert_eq!(report.agents.len(), 1, "{report:?}");
    &report.agents[0]
}

/// Lane, partition and runs of what is missing.
type Place = (u32, Option<u32>, Vec<(u64, u64)>);

fn places(agent: &Audited) -> Vec<Place> {
    let runs = |runs: &[Run]| runs.iter().map(|run| (run.first, run.last)).collect();
    agent.places.iter().map(|place| (place.lane, place.partition, runs(&place.runs))).collect()
}

#[test]
fn a_whole_log_misses_nothing() {
    let mut books = books();
    feed(&mut books, 0, [mark(0, 1, 0), request(0, 2, 1), request(0, 3, 2), last_mark(0, 4, 3)]);
    feed(&mut books, 1, [mark(0, 1, 0), last_mark(0, 2, 3)]);
    let report = close(books);
    let agent = only(&report);
    assert_eq!((report.missing, report.duplicates), (0, 0));
    assert_eq!((agent.records, agent.missing, agent.ended), (6, 0, Ended::Clean));
    let json = report.as_json();
    assert_eq!(json["agents"][0]["ended"], "clean");
    assert_eq!(json["agents"][0]["first"], "2023-11-14T22:13:20Z");
    assert_eq!(json["agents"][0]["last"], "2023-11-14T22:13:23Z");
    assert_eq!(json["missing"], 0);
    assert!(report.as_text().ends_with("Every request is accounted for.\n"));
}

#[test]
fn holes_are_named_by_lane_partition_and_sequence() {
    let mut books = books();
    feed(&mut books, 3, [mark(0, 1, 0), request(0, 4, 1), request(0, 6, 2), last_mark(0, 7, 3)]);
    feed(&mut books, 5, [request(2, 1, 1), last_mark(2, 3, 3)]);
    let report = close(books);
    let agent = only(&report);
    assert_eq!((report.missing, agent.missing), (4, 4));
    let want = vec![(0, Some(3), vec![(2, 3), (5, 5)]), (2, Some(5), vec![(2, 2)])];
    assert_eq!(places(agent), want);
    let text = report.as_text();
    assert!(text.contains("3 records of lane 0 in partition 3, sequence 2–3, 5,"), "{text}");
    assert!(
        text.ends_with("Not every request is accounted for: 4 records missing, of one agent.\n")
    );
}

#[test]
fn missing_first_entries_are_missing_where_the_log_begins() {
    let mut books = books();
    feed(&mut books, 0, [request(0, 5, 1), last_mark(0, 6, 2)]);
    let report = close(books);
    assert_eq!(places(only(&report)), [(0, Some(0), vec![(1, 4)])]);
}

#[test]
fn a_head_cut_by_retention_is_no_loss_and_holes_behind_it_are() {
    let mut books = cut_books(&[0]);
    feed(&mut books, 0, [request(0, 50, 1), request(0, 52, 1), last_mark(0, 53, 2)]);
    // Partition 1 is not cut.
    feed(&mut books, 1, [request(0, 2, 1), last_mark(0, 3, 2)]);
    let report = close(books);
    assert_eq!(places(only(&report)), [(0, Some(0), vec![(51, 51)]), (0, Some(1), vec![(1, 1)])]);
}

#[test]
fn retention_that_overtakes_the_reader_is_no_loss() {
    let mut books = books();
    feed(&mut books, 0, [request(0, 1, 1), request(0, 2, 1)]);
    books.hole(0, 2, 40, "removed by retention".into(), true);
    feed(&mut books, 0, [request(0, 30, 5), request(1, 7, 5), request(0, 32, 5)]);
    let report = close(books);
    assert_eq!(places(only(&report)), [(0, Some(0), vec![(31, 31)])]);
    assert_eq!(report.unattributed, 0);
}

#[test]
fn out_of_order_is_no_loss_and_no_duplicate() {
    let mut books = books();
    feed(&mut books, 0, [4, 2, 6, 1, 3, 5].map(|n| request(0, n, 1)));
    feed(&mut books, 0, [last_mark(0, 7, 2)]);
    let report = close(books);
    assert_eq!((report.missing, report.duplicates, only(&report).records), (0, 0, 7));
}

#[test]
fn late_entries_before_the_first_one_read_are_no_duplicates() {
    let mut books = cut_books(&[0]);
    feed(&mut books, 0, [10, 7, 11, 8, 8].map(|n| request(0, n, 1)));
    let report = close(books);
    assert_eq!((report.missing, report.duplicates), (0, 1));
}

#[test]
fn duplicates_are_counted_and_count_once() {
    let mut books = books();
    let told = gap(0, 3, 5, &[]);
    feed(&mut books, 0, [request(0, 1, 1), request(0, 2, 1), request(0, 1, 1), told.clone(), told]);
    feed(&mut books, 0, [last_mark(0, 4, 2)]);
    let report = close(books);
    let agent = only(&report);
    assert_eq!((report.missing, report.duplicates, agent.duplicates), (0, 2, 2));
    assert_eq!((agent.records, &agent.gaps), (4, &[("log_failed".to_owned(), 5)].into()));
    assert_eq!(agent.ended, Ended::Clean);
}

#[test]
fn equal_sequences_of_other_lanes_partitions_and_agents_are_no_duplicates() {
    let mut books = books();
    for partition in [0, 1] {
        for lane in [0, 1] {
            let mine = request(lane, 1, 1);
            let others = pb::Record { agent: agent(0, 9).into(), ..mine.clone() };
            feed(&mut books, partition, [mine, others]);
        }
    }
    let report = close(books);
    assert_eq!((report.missing, report.duplicates, report.agents.len()), (0, 0, 2));
}

#[test]
fn gaps_account_for_what_they_tell_whether_read_before_or_after() {
    for before in [true, false] {
        let mut books = books();
        let told = gap(1, 1, 4, &[(0, 0, 3, 6)]);
        if before {
            feed(&mut books, 7, [told.clone()]);
        }
        feed(&mut books, 0, [request(0, 1, 1), request(0, 2, 1), last_mark(0, 8, 3)]);
        if !before {
            feed(&mut books, 7, [told]);
        }
        let report = close(books);
        let agent = only(&report);
        // 7 is neither here nor told.
        assert_eq!(places(agent), [(0, Some(0), vec![(7, 7)])]);
        assert_eq!(agent.gaps, [("log_failed".to_owned(), 4)].into());
        assert_eq!(agent.told_and_here, 0);
    }
}

#[test]
fn losses_without_numbers_are_told_and_nothing_is_missing() {
    let mut books = books();
    feed(&mut books, 0, [request(0, 1, 1), gap(0, 2, 1000, &[]), last_mark(0, 3, 3)]);
    let report = close(books);
    assert_eq!(report.missing, 0);
    assert_eq!(report.as_json()["agents"][0]["gaps"][0]["requests"], 1000);
    let text = report.as_text();
    assert!(
        text.ends_with("accounted for; 1000 could not be recorded, as told above.\n"),
        "{text}"
    );
}

#[test]
fn what_was_told_to_be_lost_and_is_here_is_shown() {
    let mut books = books();
    feed(&mut books, 0, [1, 2, 3].map(|n| request(0, n, 1)));
    feed(&mut books, 0, [gap(0, 4, 3, &[(0, 0, 2, 4)]), last_mark(0, 5, 3)]);
    let report = close(books);
    assert_eq!((report.missing, only(&report).told_and_here), (0, 3));
}

#[test]
fn a_clean_end_needs_the_last_mark_of_every_lane_and_partition() {
    let two = |lane, sequence, last| {
        let mark = pb::Mark { r#final: last, lanes: 2, ..mark_of(2) };
        record(lane, sequence, Body::Mark(mark))
    };
    let ended = |records: &[(u32, pb::Record)]| {
        let mut books = books();
        records.iter().for_each(|(partition, record)| books.record(*partition, record).unwrap());
        only(&close(books)).ended
    };
    let clean = [(0, two(0, 1, true)), (1, two(0, 1, true)), (1, two(1, 1, true))];
    assert_eq!(ended(&clean), Ended::Clean);
    assert_eq!(ended(&clean[..2]), Ended::Unknown, "lane 1 never came");
    let mut open = clean.to_vec();
    open[1] = (1, two(0, 1, false));
    assert_eq!(ended(&open), Ended::Unknown, "lane 0 goes on in partition 1");
    let mut after = clean.to_vec();
    after.push((0, request(0, 2, 3)));
    assert_eq!(ended(&after), Ended::Unknown, "something follows the last mark");
}

#[test]
fn a_recent_mark_means_running_and_silence_unknown() {
    let ended = |marks: &[u64], now: u64| {
        let mut books = books();
        let marks = marks.iter().zip(1..).map(|(&s, sequence)| mark(0, sequence, s));
        feed(&mut books, 0, marks);
        only(&books.close(START + now * SECOND)).ended
    };
    // Every 10 s, as its marks show.
    assert_eq!(ended(&[0, 10, 20], 49), Ended::Running);
    assert_eq!(ended(&[0, 10, 20], 51), Ended::Unknown);
    // One mark says nothing about the next: the usual 5 s.
    assert_eq!(ended(&[20], 34), Ended::Running);
    assert_eq!(ended(&[20], 36), Ended::Unknown);
    // A clock ahead of ours.
    assert_eq!(ended(&[20], 0), Ended::Running);
}

#[test]
fn a_running_agent_may_still_tell_of_its_newest_holes() {
    let feed_all = |books: &mut Ledger| {
        feed(books, 0, [mark(0, 1, 0), request(0, 3, 1), mark(0, 4, 5)]);
        feed(books, 0, [request(0, 6, 6), mark(0, 7, 10), request(0, 9, 11)]);
    };
    let mut books = books();
    feed_all(&mut books);
    let running = books.close(START + 12 * SECOND);
    assert_eq!(places(only(&running)), [(0, Some(0), vec![(2, 2)])]);
    assert_eq!((only(&running).pending, only(&running).ended), (2, Ended::Running));
    let mut books = self::books();
    feed_all(&mut books);
    let silent = close(books);
    assert_eq!((silent.missing, only(&silent).pending), (3, 0));
}

#[test]
fn totals_show_a_tail_that_was_cut() {
    let total = |recorded, lost: &[(&str, u64)]| pb::Mark {
        requests: recorded + lost.iter().map(|l| l.1).sum::<u64>(),
        recorded,
        lost: lost.iter().map(|(reason, n)| ((*reason).to_owned(), *n)).collect(),
        ..mark_of(9)
    };
    let audit = |mark: pb::Mark, more: &[pb::Record], mut books: Ledger| {
        feed(&mut books, 0, [request(0, 1, 1), request(0, 2, 1)]);
        feed(&mut books, 1, [record(0, 1, Body::Mark(mark))]);
        feed(&mut books, 1, more.iter().cloned());
        close(books)
    };
    assert_eq!(audit(total(2, &[("log_full", 7)]), &[], books()).missing, 0);
    let short = audit(total(5, &[]), &[], books());
    assert_eq!((short.missing, places(only(&short))), (3, vec![(0, None, vec![])]));
    assert!(short.as_text().contains("3 requests of lane 0, which its marks count as recorded"));
    // Told to be lost after that mark.
    assert_eq!(audit(total(5, &[]), &[gap(0, 2, 3, &[(0, 0, 3, 5)])], books()).missing, 0);
    // What retention cut is not counted against the totals.
    assert_eq!(audit(total(5, &[]), &[], cut_books(&[0])).missing, 0);
    // Nor what it cut where nothing of the lane is left.
    assert_eq!(audit(total(5, &[]), &[], cut_books(&[7])).missing, 0);
    assert_eq!(audit(total(5, &[]), &[], window_books(Some(0), None)).missing, 0);
}

#[test]
fn losses_in_the_totals_that_no_gap_tells_are_shown() {
    let lost = |n| [("log_full".to_owned(), n), ("tee_full".to_owned(), 1)].into_iter().collect();
    let of = |n| pb::Mark { requests: n + 1, lost: lost(n), r#final: true, ..mark_of(3) };
    let audit = |mark: pb::Mark| {
        let mut books = books();
        let told = |requests| pb::Gap { requests, reason: "log_full".into(), ..pb::Gap::default() };
        feed(&mut books, 0, [record(0, 1, Body::Gap(told(4))), record(0, 2, Body::Gap(told(5)))]);
        feed(&mut books, 0, [record(0, 3, Body::Mark(mark))]);
        let report = close(books);
        assert_eq!(report.missing, 0);
        only(&report).untold.clone()
    };
    let tee = || ("tee_full".to_owned(), 1);
    assert_eq!(audit(of(9)), [tee()].into());
    assert_eq!(audit(of(11)), [("log_full".to_owned(), 2), tee()].into());
}

#[test]
fn a_silent_agent_is_in_the_last_sentence() {
    let mut books = books();
    feed(&mut books, 0, [mark(0, 1, 0), request(0, 2, 1)]);
    let text = close(books).as_text();
    let end = "Every request is accounted for; \
               what one agent lost after the last record, if anything, is unknown.\n";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn a_window_counts_its_own_and_bounds_holes_by_marks() {
    let log = || {
        let mut log =
            vec![mark(0, 1, 0), request(0, 2, 1), /* 3 */ request(0, 4, 4), mark(0, 5, 5)];
        log.extend([request(0, 6, 6), /* 7 */ request(0, 8, 9), mark(0, 9, 10)]);
        log.extend([/* 10 */ request(0, 11, 14), last_mark(0, 12, 15)]);
        log
    };
    let audit = |from, to| {
        let mut books = window_books(from, to);
        feed(&mut books, 0, log());
        close(books)
    };
    let holes = |report: &Report| -> Vec<u64> {
        let runs = report.agents.iter().flat_map(|a| &a.places).flat_map(|p| &p.runs);
        runs.map(|run| run.first).collect()
    };
    let whole = audit(None, None);
    assert_eq!(holes(&whole), [3, 7, 10]);
    let middle = audit(Some(5), Some(10));
    assert_eq!(holes(&middle), [7]);
    // The mark at 5 and two requests; the mark at 10 is not in it.
    assert_eq!(only(&middle).records, 3);
    assert_eq!(only(&middle).ended, Ended::Clean);
    // Between marks nothing is known about the time of a hole.
    assert_eq!(holes(&audit(Some(6), Some(9))), [7]);
    assert_eq!(holes(&audit(Some(4), None)), [3, 7, 10]);
    assert_eq!(holes(&audit(Some(10), None)), [10]);
    assert_eq!(holes(&audit(None, Some(5))), [3]);
    assert!(audit(Some(100), None).agents.is_empty());
}

#[test]
fn a_request_that_lasted_keeps_the_window_open() {
    let mut books = window_books(None, Some(5));
    // A request that began in the window may come until a mark's `low` passes its end.
    let waiting = pb::Mark { low_ns: START + 3 * SECOND, ..mark_of(6) };
    feed(&mut books, 0, [mark(0, 1, 0), record(0, 2, Body::Mark(waiting))]);
    feed(&mut books, 0, [/* 3 */ request(0, 4, 3), mark(0, 5, 10), /* 6 */ last_mark(0, 7, 15)]);
    assert_eq!(places(only(&close(books))), [(0, Some(0), vec![(3, 3)])]);
}

#[test]
fn an_agent_that_began_after_what_the_window_left_out_is_audited_from_its_first_entry() {
    let scope = Scope {
        from_ns: Some(START + 40 * SECOND),
        to_ns: None,
        cut: [0].into(),
        read_from_ns: Some(START + 10 * SECOND),
    };
    let mut books = Ledger::new(scope, Limits::default());
    let of =
        |began, sequence| pb::Record { agent: agent(began, 1).into(), ..request(0, sequence, 50) };
    feed(&mut books, 0, [of(0, 7), of(0, 8), of(20, 3), of(20, 4)]);
    let report = close(books);
    let missing: Vec<u64> = report.agents.iter().map(|agent| agent.missing).collect();
    assert_eq!(missing.iter().sum::<u64>(), 2, "{report:?}");
    assert_eq!(places(report.agents.iter().find(|a| a.missing > 0).unwrap())[0].2, [(1, 2)]);
}

#[test]
fn every_kind_of_entry_has_a_time() {
    let mut books = window_books(Some(10), Some(20));
    let id: bytes::Bytes = agent(15, 3).into();
    let response =
        pb::Response { request_start_ns: START + 15 * SECOND, ..pb::Response::default() };
    let part = pb::BodyPart { id, ..pb::BodyPart::default() };
    feed(&mut books, 0, [request(0, 1, 15), record(0, 2, Body::Response(response))]);
    feed(&mut books, 0, [record(0, 3, Body::Part(part)), mark(0, 4, 15), request(0, 5, 25)]);
    // A gap from 1 s to 2 s.
    feed(&mut books, 0, [gap(0, 6, 3, &[])]);
    let report = close(books);
    assert_eq!((only(&report).records, only(&report).gaps.len()), (4, 0));
}

#[test]
fn offsets_the_log_lacks_count_once_with_the_sequences_they_held() {
    let mut books = books();
    feed(&mut books, 0, [request(0, 1, 1), request(0, 2, 1)]);
    books.hole(0, 2, 5, "damaged".into(), false);
    feed(&mut books, 0, [request(0, 6, 2), last_mark(0, 7, 3)]);
    // An agent may have lived and died in there.
    books.hole(1, 0, 4, "damaged".into(), false);
    books.unreadable(2, 9, "not a record".into());
    let report = close(books);
    assert_eq!((only(&report).missing, report.unattributed, report.missing), (3, 4, 7));
    let json = report.as_json();
    assert_eq!((&json["log"]["missing"], &json["log"]["unreadable"]), (&7.into(), &1.into()));
    assert_eq!(json["log"]["where"][1]["reason"], "damaged");
    assert!(report.as_text().contains("partition 1, offsets 0–3 cannot be read: damaged"));
}

#[test]
fn offsets_lacking_outside_the_window_do_not_matter() {
    let mut books = window_books(Some(10), Some(20));
    books.hole(0, 0, 3, "damaged".into(), false);
    feed(&mut books, 0, [mark(0, 1, 10), request(0, 2, 15), mark(0, 3, 20)]);
    books.hole(0, 6, 9, "damaged".into(), false);
    let report = close(books);
    assert_eq!((report.missing, report.as_json()["log"]["missing"].clone()), (0, 0.into()));
}

#[test]
fn memory_is_bounded_and_said_to_be() {
    let mut books = Ledger::new(Scope::default(), Limits { tracks: 3, runs: 10 });
    feed(&mut books, 0, (1..=100).map(|n| request(0, 2 * n, 1)));
    assert!(books.agents.values().all(|a| a.tracks.values().all(|t| t.runs() <= 10)));
    feed(&mut books, 0, [gap(0, 201, 1, &[(0, 0, 199, 199)])]);
    feed(&mut books, 1, [request(0, 1, 1)]);
    feed(&mut books, 2, [request(0, 1, 1)]);
    assert_eq!(books.record(3, &request(0, 1, 1)), Err(TooMany));
    let report = close(books);
    // 199 was told, but there was no room to keep that.
    assert_eq!(report.missing, 100);
    assert_eq!(report.as_json()["exact"], false);
}

#[test]
fn nonsense_in_a_log_is_survived() {
    let mut books = books();
    feed(&mut books, 0, [request(0, u64::MAX, 1), request(0, u64::MAX, 1), request(0, 0, 1)]);
    feed(&mut books, 0, [request(1, u64::MAX, 1), gap(0, 5, u64::MAX, &[(0, 0, 9, 3)])]);
    feed(&mut books, 0, [gap(0, 6, u64::MAX, &[(3, 3, 0, u64::MAX)])]);
    let empty = pb::Record { agent: bytes::Bytes::new(), ..mark(0, 1, 1) };
    feed(&mut books, 0, [empty]);
    let report = close(books);
    assert_eq!((report.missing, report.agents.len()), (u64::MAX, 2));
    report.as_text();
}

#[test]
fn an_empty_log_is_no_failure() {
    let report = close(books());
    assert_eq!((report.missing, report.duplicates), (0, 0));
    assert_eq!(report.as_text(), "There is nothing to audit: no agent wrote here.\n");
}

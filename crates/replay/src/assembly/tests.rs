use proptest::prelude::*;

use super::*;

const ID: Id = [9; 16];

fn request(parts: u32, body: Option<&'static [u8]>) -> pb::Request {
    let open = if parts == 0 { pb::Completeness::Open } else { pb::Completeness::Complete };
    pb::Request {
        parts,
        body: body.map(Bytes::from_static),
        completeness: open as i32,
        ..Default::default()
    }
}

fn part(index: u32, data: &'static [u8]) -> pb::BodyPart {
    pb::BodyPart { index, data: Bytes::from_static(data), ..Default::default() }
}

fn begun(request: &pb::Request) -> Assembly {
    let mut assembly = Assembly::new(100);
    assembly.begin(ID, 1, 3, request, 0).unwrap();
    assembly
}

#[test]
fn announced_parts_make_a_body() {
    let mut assembly = begun(&request(2, Some(b"a")));
    assert_eq!(assembly.join(&ID, part(0, b"b"), 1), Joined::Kept(1));
    let Joined::Whole(whole) = assembly.join(&ID, part(1, b"c"), 2) else { panic!() };
    assert_eq!(whole.pieces, ["a", "b", "c"]);
    assert!(assembly.is_empty());
    assert_eq!(assembly.promised(), 0);
}

#[test]
fn an_open_request_ends_with_the_last_part_and_its_trailers() {
    let mut assembly = begun(&request(0, Some(b"a")));
    let trailer = pb::Header { name: "t".into(), value: "v".into() };
    let last = pb::BodyPart { last: true, trailers: vec![trailer.clone()], ..part(0, b"") };
    let Joined::Whole(whole) = assembly.join(&ID, last, 1) else { panic!() };
    assert_eq!(whole.pieces, ["a"]);
    assert_eq!(whole.trailers, [trailer]);
}

#[test]
fn an_aborted_part_ends_it() {
    let mut assembly = begun(&request(0, None));
    let end = pb::BodyPart {
        aborted: true,
        completeness: pb::Completeness::Aborted as i32,
        ..part(0, b"x")
    };
    assert_eq!(assembly.join(&ID, end, 1), Joined::GivenUp(1, Skip::Aborted));
    assert_eq!(assembly.join(&ID, part(1, b"y"), 2), Joined::NotWanted);
    assert!(assembly.is_empty());
}

#[test]
fn a_body_that_the_agent_cut_is_what_there_is_of_it() {
    let mut assembly = begun(&request(0, None));
    let end = pb::BodyPart {
        aborted: true,
        completeness: pb::Completeness::Truncated as i32,
        body_length: 999,
        ..part(0, b"x")
    };
    let Joined::Whole(whole) = assembly.join(&ID, end, 1) else { panic!() };
    assert_eq!((whole.pieces, whole.cut), (vec![Bytes::from("x")], Some(999)));

    // It says how long it was; what is in the log is less, and that has to fit.
    let mut assembly = Assembly::new(100);
    let cut = pb::Request {
        completeness: pb::Completeness::Truncated as i32,
        body_length: 30 << 20,
        ..request(4, Some(b"12345678901234567890"))
    };
    assert_eq!(assembly.begin(ID, 1, 3, &cut, 0), Ok(()));
    assert_eq!(assembly.begin(ID, 2, 3, &cut, 0), Err(Skip::Incomplete), "of the same id");
}

#[test]
fn a_part_met_twice_counts_once_and_a_hole_gives_up() {
    let mut assembly = begun(&request(3, None));
    assert_eq!(assembly.join(&ID, part(0, b"x"), 1), Joined::Kept(1));
    assert_eq!(assembly.join(&ID, part(0, b"x"), 1), Joined::Again);
    assert_eq!(assembly.join(&ID, part(2, b"z"), 1), Joined::GivenUp(1, Skip::Incomplete));
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let mut assembly = Assembly::new(100);
    let large = pb::Request { body_length: 101, ..request(2, None) };
    assert_eq!(assembly.begin(ID, 1, 3, &large, 0), Err(Skip::TooLarge));
    assert_eq!(assembly.join(&ID, part(0, b"x"), 1), Joined::NotWanted);
}

#[test]
fn what_is_promised_is_what_is_still_to_come() {
    let mut assembly = Assembly::new(100);
    let announced = pb::Request { body_length: 10, ..request(3, Some(b"1234")) };
    assembly.begin([1; 16], 1, 0, &announced, 5).unwrap();
    assert_eq!((assembly.promised(), assembly.give_up_begun()), (0, None));
    assembly.promise(&[1; 16]);
    assert_eq!(assembly.promised(), 6);
    assert!(assembly.promises_in(0) && !assembly.promises_in(1));
    assembly.join(&[1; 16], part(0, b"567"), 6);
    assert_eq!(assembly.promised(), 3);
    // More than was announced.
    assembly.join(&[1; 16], part(1, b"89012"), 7);
    assert_eq!((assembly.promised(), assembly.promises_in(0)), (0, false));
    assembly.begin([2; 16], 2, 0, &request(0, Some(b"x")), 1).unwrap();
    assert_eq!(assembly.give_up_begun(), Some(2));
    assert_eq!(assembly.give_up_begun(), Some(1));
}

#[test]
fn a_body_beyond_the_bound_is_given_up() {
    let mut assembly = Assembly::new(10);
    assembly.begin([2; 16], 2, 0, &request(0, Some(b"123456")), 6).unwrap();
    let more = assembly.join(&[2; 16], part(0, b"12345"), 7);
    assert_eq!(more, Joined::GivenUp(2, Skip::TooLarge));
    assert!(assembly.is_empty());
}

#[test]
fn patience_is_per_partition() {
    let mut assembly = Assembly::new(100);
    assembly.begin([1; 16], 1, 0, &request(0, None), 5).unwrap();
    assembly.begin([2; 16], 2, 1, &request(0, None), 5).unwrap();
    assembly.begin([3; 16], 3, 0, &request(0, None), 50).unwrap();
    assert_eq!(assembly.give_up(0, |ticket| ticket < 3), [1]);
    assert!(assembly.give_up(7, |_| true).is_empty());
    assert!(assembly.waits_in(0) && assembly.waits_in(1));
    assert_eq!(assembly.give_up(0, |_| true), [3]);
    assert!(!assembly.waits_in(0) && assembly.waits_in(1));
}

proptest! {
    #[test]
    fn any_split_gives_the_body_back(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..20), again in any::<bool>()) {
        let mut assembly = Assembly::new(10_000);
        let request = pb::Request { parts: pieces.len() as u32, ..Default::default() };
        assembly.begin(ID, 1, 0, &request, 0).unwrap();
        let mut got = None;
        for (index, piece) in pieces.iter().enumerate() {
            let part = pb::BodyPart { index: index as u32, data: piece.clone().into(), ..Default::default() };
            match assembly.join(&ID, part.clone(), 0) {
                Joined::Whole(whole) => got = Some(whole.pieces.concat()),
                Joined::Kept(_) if again => prop_assert_eq!(assembly.join(&ID, part, 0), Joined::Again),
                Joined::Kept(_) => {}
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(got, Some(pieces.concat()));
    }
}

//! Lookups.

use super::*;

#[test]
fn names_have_no_case_and_lines_keep_their_order() {
    let fields = [("A", "1"), ("b", "2"), ("a", "3")];
    assert_eq!(all(&fields, "a").collect::<Vec<_>>(), [b"1", b"3"]);
    assert_eq!(first(&fields, "B"), Some(&b"2"[..]));
    assert_eq!(first(&fields, "c"), None);
    assert_eq!(iter(NONE).count(), 0);
}

#[test]
fn cookies() {
    let fields = [("cookie", "a=1; sid= x=y ;flag"), ("Cookie", "sid=second; late=2")];
    let text = |name| cookie(&fields, name).map(|value| std::str::from_utf8(value).unwrap());
    assert_eq!(text("a"), Some("1"));
    assert_eq!(text("sid"), Some("x=y"));
    assert_eq!(text("SID"), None);
    assert_eq!(text("flag"), None);
    assert_eq!(text("late"), Some("2"));
}

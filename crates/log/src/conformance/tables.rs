//! Promises of the tables beside a log.

use bytes::Bytes;

use super::{Bench, Subject};
use crate::{
    LogError, Table,
    table::{MAX_KEY, MAX_VALUE},
};

async fn open(bench: &Bench<'_>) -> Table {
    bench.again().await.table("keys").await.expect("can be opened")
}

async fn all(table: &Table) -> Vec<(String, Bytes)> {
    table.read_all().await.expect("can be read").into_iter().collect()
}

fn pairs(expected: &[(&str, &[u8])]) -> Vec<(String, Bytes)> {
    expected.iter().map(|(key, value)| ((*key).to_owned(), value.to_vec().into())).collect()
}

/// Whoever put it, for all who read, kept over reopening.
pub async fn a_table_keeps_the_last_value_of_each_key(subject: &dyn Subject) {
    let bench = Bench::new(subject, "table", 1).await;
    let looker = bench.again().await.table_if_any("keys").await.expect("can be looked for");
    assert_eq!(all(&looker).await, pairs(&[]));
    assert_eq!(all(&looker).await, pairs(&[]), "looking makes none");
    let (one, two) = (open(&bench).await, open(&bench).await);
    assert_eq!(all(&one).await, pairs(&[]));
    let (a, b) = tokio::join!(one.put("a", b"1"), two.put("b-2.x_Y", &[0, 255]));
    a.and(b).expect("can be put");
    two.put("a", b"2").await.expect("can be put again");
    two.put("empty", b"").await.expect("an empty value");
    let expected = pairs(&[("a", b"2"), ("b-2.x_Y", &[0, 255]), ("empty", b"")]);
    for table in [&one, &two, &open(&bench).await, &looker] {
        assert_eq!(all(table).await, expected);
    }
    let other = bench.log.table("others").await.expect("can be opened");
    assert_eq!(all(&other).await, pairs(&[]), "another name, another table");
}

/// Removed keys do not come back, and may be put anew.
pub async fn what_is_removed_from_a_table_is_gone(subject: &dyn Subject) {
    let bench = Bench::new(subject, "removed", 1).await;
    let table = open(&bench).await;
    table.remove(&["nobody".to_owned()]).await.expect("what is not there can be removed");
    for key in ["a", "b", "c"] {
        table.put(key, b"secret").await.expect("can be put");
    }
    table.remove(&[]).await.expect("nothing can be removed");
    let gone = ["a".to_owned(), "c".to_owned(), "nobody".to_owned()];
    table.remove(&gone).await.expect("can be removed");
    assert_eq!(all(&table).await, pairs(&[("b", b"secret")]));
    assert_eq!(all(&open(&bench).await).await, pairs(&[("b", b"secret")]));
    table.put("a", b"new").await.expect("can be put");
    assert_eq!(all(&table).await, pairs(&[("a", b"new"), ("b", b"secret")]));
}

/// Keys are names, values are bounded, and what is refused leaves nothing.
pub async fn a_table_takes_what_fits_a_name_and_its_bounds(subject: &dyn Subject) {
    let bench = Bench::new(subject, "bounds", 1).await;
    let table = open(&bench).await;
    let long = "k".repeat(MAX_KEY + 1);
    for key in ["", ".hidden", "..", "a/b", "a b", "\u{e9}", &long] {
        assert!(matches!(table.put(key, b"x").await, Err(LogError::Refused(_))), "{key}");
        let removed = table.remove(&[key.to_owned()]).await;
        assert!(matches!(removed, Err(LogError::Refused(_))), "{key}");
    }
    let big = vec![7; MAX_VALUE + 1];
    assert!(matches!(table.put("big", &big).await, Err(LogError::Refused(_))));
    table.put(&long[..MAX_KEY], &big[..MAX_VALUE]).await.expect("what just fits");
    assert_eq!(all(&table).await, pairs(&[(&long[..MAX_KEY], &big[..MAX_VALUE])]));
}

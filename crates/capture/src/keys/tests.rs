//! When keys are made and used: a store that refuses, a midnight that comes too early.

use std::sync::atomic::AtomicBool;

use umbra_record::seal::wrap::Identities;

use super::*;

/// Noon of some day.
const NOON: u64 = 20_000 * DAY_NS + DAY_NS / 2;

#[derive(Default)]
struct Store {
    entries: Mutex<Vec<pb::DataKey>>,
    refuses: AtomicBool,
}

impl KeyStore for Store {
    async fn put(&self, id: &str, entry: &[u8]) -> Result<(), LogError> {
        if self.refuses.load(Ordering::Relaxed) {
            return Err(LogError::Unreachable("away".to_owned()));
        }
        let entry = pb::DataKey::decode(entry).unwrap();
        assert_eq!(entry.id, id);
        self.entries.lock().unwrap().push(entry);
        Ok(())
    }
}

impl Store {
    fn days(&self) -> Vec<u64> {
        self.entries.lock().unwrap().iter().map(|entry| entry.created_ns / DAY_NS).collect()
    }
}

/// Lets time pass, from a moment to another.
async fn pass(keys: &SealKeys, store: &Store, from_ns: u64, to_ns: u64) {
    let mut now_ns = from_ns;
    while now_ns < to_ns {
        now_ns += nanos(keys.look_ahead(store, now_ns).await).max(1);
    }
}

const HOUR_NS: u64 = DAY_NS / 24;

fn id_at(sealers: &mut Sealers, at_ns: u64) -> String {
    sealers.at(at_ns).unwrap().key().id().to_owned()
}

#[tokio::test]
async fn each_day_has_a_key_that_was_kept_before_it_is_used() {
    let (store, identities) = (Store::default(), Identities::generate());
    let keys = SealKeys::open(&store, identities.recipients(), [7; 16], NOON).await.unwrap();
    assert_eq!(store.days(), [20_000]);
    let mut sealers = Sealers::new(Some(keys.clone()));
    let first = id_at(&mut sealers, NOON);
    assert!(first.starts_with("2024-10-04.") && first.len() == 27, "{first}");
    pass(&keys, &store, NOON, NOON + 58 * HOUR_NS).await;
    // An hour before the third midnight is yet to come.
    assert_eq!(store.days(), [20_000, 20_001, 20_002]);
    let midnight = 20_001 * DAY_NS;
    assert_eq!(id_at(&mut sealers, midnight - 1), first);
    let second = id_at(&mut sealers, midnight);
    assert!(second.starts_with("2024-10-05."), "{second}");
    assert!(id_at(&mut sealers, midnight + DAY_NS).starts_with("2024-10-06."));
    assert_eq!((id_at(&mut sealers, midnight), keys.failures()), (second.clone(), 0));
    // What is in the store opens what was sealed.
    let sealed = sealers.at(midnight).unwrap().seal(&[1; 16], "header:x".to_owned(), 0, b"s");
    let entries = store.entries.lock().unwrap();
    let entry = entries.iter().find(|entry| entry.id == second).unwrap();
    let mut opener = umbra_record::seal::Opener::default();
    opener.add(&identities.unwrap(&entry.id, &entry.wrapped).unwrap());
    assert_eq!(opener.open(&[1; 16], &sealed).unwrap(), b"s");
    assert_eq!(entry.agent[..], [7; 16]);
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_not_used_and_tried_again() {
    let store = Store::default();
    let recipients = Identities::generate().recipients();
    store.refuses.store(true, Ordering::Relaxed);
    let refused = SealKeys::open(&store, recipients.clone(), [7; 16], NOON).await;
    assert!(matches!(refused, Err(KeyError::Keep(_))));
    store.refuses.store(false, Ordering::Relaxed);
    let keys = SealKeys::open(&store, recipients, [7; 16], NOON).await.unwrap();
    let mut sealers = Sealers::new(Some(keys.clone()));
    let first = id_at(&mut sealers, NOON);
    store.refuses.store(true, Ordering::Relaxed);
    let late = NOON + 13 * HOUR_NS;
    pass(&keys, &store, NOON, late).await;
    // Past midnight, and the last key goes on.
    assert_eq!(id_at(&mut sealers, late), first);
    assert!(keys.failures() > 100, "{}", keys.failures());
    store.refuses.store(false, Ordering::Relaxed);
    pass(&keys, &store, late, late + HOUR_NS).await;
    assert_eq!(store.days(), [20_000, 20_001]);
    assert_eq!(id_at(&mut sealers, late - 1), first, "sealed before the key was kept");
    assert!(id_at(&mut sealers, late).starts_with("2024-10-05."));
}

#[test]
fn without_keys_nothing_is_sealed() {
    assert!(Sealers::default().at(NOON).is_none());
}

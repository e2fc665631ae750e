use std::sync::Arc;

use umbra_log::{Address, LogOptions, Mode};
use umbra_record::{
    redact::{Action, Redaction, Rules, Secrets},
    seal::{Sealer, wrap::Recipients},
};

use super::*;

struct Scene {
    _directory: tempfile::TempDir,
    log: Log,
}

impl Scene {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = Address::File(directory.path().join("log"));
        let log = Log::open(&address, LogOptions::default(), Mode::Create).await.unwrap();
        Self { _directory: directory, log }
    }

    async fn key(&self, id: &str, to: &Recipients) -> Sealer {
        let key = DataKey::generate(id.to_owned()).unwrap();
        let entry = pb::DataKey {
            id: id.to_owned(),
            recipients: to.names(),
            wrapped: to.wrap(&key).unwrap().into(),
            ..pb::DataKey::default()
        };
        let table = self.log.table(TABLE).await.unwrap();
        table.put(id, &entry.encode_to_vec()).await.unwrap();
        Sealer::new(Arc::new(key)).unwrap()
    }

    async fn seals(&self, identities: Option<&Identities>, closed: Closed) -> Arc<Seals> {
        let unsealing = Unsealing { identities: identities.cloned(), closed };
        Arc::new(Seals::new(&self.log, unsealing).await.unwrap())
    }
}

const TOKEN: &str = "Bearer a-long-secret-token";

/// A request whose credentials and query are sealed.
fn sealed(sealer: &mut Sealer) -> Outgoing {
    let rules = Rules { credentials: Action::Seal, redact: vec!["query:pin=seal".to_owned()] };
    let redaction = Redaction::new(&rules).unwrap();
    let headers = vec![("Authorization", TOKEN), ("X", "y")];
    let mut secrets = Secrets::new(&[7; 16], None, Some(sealer));
    let head = redaction.head(Some(b"pin=1234&a=b"), &headers, &mut secrets).unwrap();
    let field = |(name, value): &(&[u8], std::borrow::Cow<'_, [u8]>)| pb::Header {
        name: name.to_vec().into(),
        value: value.to_vec().into(),
    };
    let request = pb::Request {
        id: vec![7; 16].into(),
        method: "GET".into(),
        path: "/".into(),
        query: head.query.map(|query| query.into_owned().into()),
        headers: head.headers.iter().map(field).collect(),
        sealed: secrets.sealed,
        ..pb::Request::default()
    };
    assert_eq!(request.sealed.len(), 2);
    assert!(request.headers.iter().all(|one| one.value != TOKEN));
    Outgoing { request: request.into(), body: None, attempt: 1 }
}

fn said(error: &ReplayError) -> String {
    assert!(matches!(error, ReplayError::Sealed { .. }), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn values_come_back_with_the_right_identity_only() {
    let scene = Scene::new().await;
    let (ours, theirs) = (Identities::generate(), Identities::generate());
    let outgoing = sealed(&mut scene.key("2026-11-22.a", &ours.recipients()).await);
    let ready = scene.seals(Some(&ours), Closed::Stop).await;
    ready.prepare(&outgoing.request.sealed).await.unwrap();
    let unsealed = ready.restore(outgoing.clone(), true).await.unwrap();
    assert_eq!(unsealed.restored, Restored { opened: 2, omitted: 0 });
    assert_eq!(unsealed.outgoing.request.headers[0].value, TOKEN);
    assert_eq!(unsealed.outgoing.request.query.as_deref(), Some(&b"pin=1234&a=b"[..]));

    // A target that is not to get them.
    let without = ready.restore(outgoing.clone(), false).await.unwrap();
    assert_eq!(without.restored, Restored { opened: 0, omitted: 2 });
    assert_eq!(without.outgoing.request.headers.len(), 1);
    assert_eq!(without.outgoing.request.query.as_deref(), Some(&b"a=b"[..]));

    for (identities, words) in [(Some(&theirs), "the identities given are"), (None, "no identity")]
    {
        let stopped = scene.seals(identities, Closed::Stop).await;
        let error = stopped.prepare(&outgoing.request.sealed).await.unwrap_err();
        let told = said(&error);
        let recipient = &ours.recipients().names()[0];
        for part in ["2026-11-22.a", "query:pin", words, recipient] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(stopped.restore(outgoing.clone(), true).await.is_err());
        let omitting = scene.seals(identities, Closed::Omit).await;
        omitting.prepare(&outgoing.request.sealed).await.unwrap();
        let restored = omitting.restore(outgoing.clone(), true).await.unwrap().restored;
        assert_eq!(restored, Restored { opened: 0, omitted: 2 });
    }
}

#[tokio::test]
async fn a_key_that_was_erased_and_one_that_came_later_are_told_apart() {
    let scene = Scene::new().await;
    let ours = Identities::generate();
    let old = sealed(&mut scene.key("old", &ours.recipients()).await);
    let seals = scene.seals(Some(&ours), Closed::Stop).await;
    scene.log.table(TABLE).await.unwrap().remove(&["old".to_owned()]).await.unwrap();
    let told = said(&seals.prepare(&old.request.sealed).await.unwrap_err());
    assert!(told.contains("erased") && told.contains("log.keys"), "{told}");
    // Made after the table was read.
    let new = sealed(&mut scene.key("new", &ours.recipients()).await);
    seals.prepare(&new.request.sealed).await.unwrap();
    assert!(seals.why_closed("old").await.unwrap().is_some());
    assert_eq!(seals.why_closed("new").await.unwrap(), None);
    assert_eq!(seals.restore(new, true).await.unwrap().restored.opened, 2);
    // A body that is edited elsewhere.
    let mut large = sealed(&mut scene.key("large", &ours.recipients()).await);
    large.body = Some(vec![vec![b'x'; 2 * LARGE].into()]);
    seals.prepare(&large.request.sealed).await.unwrap();
    assert_eq!(seals.restore(large, true).await.unwrap().restored.opened, 2);
}

#[tokio::test]
async fn a_damaged_entry_or_value_is_said_so() {
    let scene = Scene::new().await;
    let ours = Identities::generate();
    let mut outgoing = sealed(&mut scene.key("k", &ours.recipients()).await);
    let seals = scene.seals(Some(&ours), Closed::Stop).await;
    seals.prepare(&outgoing.request.sealed).await.unwrap();
    Arc::make_mut(&mut outgoing.request).sealed[0].ciphertext = vec![0; 40].into();
    let Err(why) = seals.restore(outgoing.clone(), true).await else { panic!("it opened") };
    assert!(why.contains("query:pin"), "{why}");
    scene.log.table(TABLE).await.unwrap().put("k", b"nonsense").await.unwrap();
    let again = scene.seals(Some(&ours), Closed::Stop).await;
    assert!(said(&again.prepare(&outgoing.request.sealed).await.unwrap_err()).contains("damaged"));
}

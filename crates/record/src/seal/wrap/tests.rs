use super::*;

#[test]
fn a_data_key_reaches_its_recipients_and_nobody_else() {
    let (ann, bob, eve) = (Identities::generate(), Identities::generate(), Identities::generate());
    let text =
        format!("# team\n{}\n\n{},", ann.recipients().names()[0], bob.recipients().names()[0]);
    let recipients = Recipients::parse(&text).unwrap();
    let key = DataKey::generate("2026-11-22".to_owned()).unwrap();
    let wrapped = recipients.wrap(&key).unwrap();
    for identity in [&ann, &bob] {
        let read = Identities::parse(&identity.to_file()).unwrap();
        let opened = read.unwrap(key.id(), &wrapped).unwrap();
        assert_eq!((opened.id(), opened.secret()), (key.id(), key.secret()));
    }
    assert_eq!(eve.unwrap("k", &wrapped).unwrap_err(), WrapError::NotForUs);
    assert!(matches!(ann.unwrap("k", b"garbage"), Err(WrapError::Damaged(_))));
    assert!(matches!(ann.unwrap("k", &wrapped[..wrapped.len() - 3]), Err(WrapError::Damaged(_))));
}

#[test]
fn what_is_no_key_is_told_by_its_line_and_not_shown() {
    let problems = Recipients::parse("age1nothing\n# fine\nssh-rsa AAAA").unwrap_err();
    assert_eq!(problems.len(), 2);
    assert!(problems[1].contains("line 3"));
    let problems = Identities::parse("AGE-SECRET-KEY-1TYPO").unwrap_err();
    assert!(!problems[0].contains("TYPO"));
    assert!(Recipients::parse("# nobody").unwrap_err()[0].contains("not one"));
}

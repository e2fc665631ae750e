use std::collections::BTreeMap;

use super::*;
use crate::settings::{Parsed, parse};

fn settings(flags: &[&str], env: Option<&str>) -> Settings {
    let args = ["umbra", "replay", "--target", "http://a"].iter().chain(flags);
    let env = env.map(|value| ("UMBRA_SEAL_KEY".to_owned(), value.to_owned()));
    let env: BTreeMap<String, String> = env.into_iter().collect();
    let Parsed::Run(settings) = parse(args.map(|one| (*one).to_owned()).collect(), &env).unwrap()
    else {
        panic!()
    };
    settings
}

fn recipients(unsealing: &Unsealing) -> Vec<String> {
    unsealing.identities.as_ref().unwrap().recipients().names()
}

#[test]
fn identities_come_from_files_and_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (Identities::generate(), Identities::generate());
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (a, b) = (file("a", &one.to_file()), file("b", &two.to_file()));
    let both = [one.recipients().names(), two.recipients().names()].concat();
    let mut said = settings(&["--seal-key", &a, "--seal-key", &b, "--sealed", "omit"], None);
    let read = unsealing(&mut said);
    said.check().unwrap();
    assert_eq!((recipients(&read), read.closed), (both, Closed::Omit));

    let secret = one.to_file().lines().last().unwrap().to_owned();
    for env in [&secret, &a] {
        let mut said = settings(&[], Some(env));
        assert_eq!(recipients(&unsealing(&mut said)), one.recipients().names());
        said.check().unwrap();
        assert!(!said.as_yaml().contains(&secret));
    }
    // The text of the file, as a secret of a cluster gives it.
    let mut said = settings(&[], Some(&one.to_file()));
    assert_eq!(recipients(&unsealing(&mut said)), one.recipients().names());
    said.check().unwrap();
    // What is wrong is told without the secret.
    let cut = &secret[..40];
    let (blank, commented) = (format!(" {cut}"), format!("# public key: x\n{cut}"));
    let wrong = [
        (vec!["--seal-key", &*secret], None),
        (vec![], Some(cut)),
        (vec![], Some(&blank)),
        (vec![], Some(&commented)),
    ];
    for (flags, env) in wrong {
        let mut said = settings(&flags, env);
        unsealing(&mut said);
        let told = said.check().unwrap_err().to_string();
        assert!(told.contains("--seal-key") && !told.contains(cut), "{told}");
    }
    let empty = file("empty", "");
    let mut said = settings(&["--seal-key", "/none", "--seal-key", &empty], None);
    unsealing(&mut said);
    let told = said.check().unwrap_err().to_string();
    assert!(told.contains("/none") && told.contains("empty"), "{told}");
}

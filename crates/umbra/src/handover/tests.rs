use std::os::fd::OwnedFd;

use super::*;

fn estate() -> Estate {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    Estate {
        sockets: vec![(":0".to_owned(), OwnedFd::from(listener))],
        handed_on: HandedOn::default(),
        admin: CancellationToken::new(),
        stop: CancellationToken::new(),
    }
}

async fn ask(path: &Path) -> Predecessor {
    Predecessor::ask(path).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_first_who_begins_gets_the_sockets_and_nobody_else_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("handover");
    assert!(Predecessor::ask(&path).await.unwrap().is_none());
    let estate = estate();
    let (stop, handed_on) = (estate.stop.clone(), estate.handed_on.clone());
    let agent = Successor::wait(&path, None, estate).unwrap();

    // One that says nothing is in nobody's way.
    let (mut silent, mut late) = (ask(&path).await, ask(&path).await);
    let dead = ask(&path).await;
    drop(dead);
    let mut quick = ask(&path).await;
    assert!(quick.take(":0").is_some());
    assert!(!stop.is_cancelled());
    quick.take_over().await.unwrap();
    assert!(stop.is_cancelled() && handed_on.is_set());
    quick.take_over().await.unwrap();

    for other in [&mut silent, &mut late] {
        let refused = other.take_over().await.unwrap_err().to_string();
        assert!(refused.contains("to another one"), "{refused}");
    }
    drop(agent);
    timeout(PATIENCE, quick.ended()).await.unwrap();
}

#[tokio::test]
async fn who_ends_without_a_word_is_succeeded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("handover");
    let agent = Successor::wait(&path, None, estate()).unwrap();
    let mut successor = ask(&path).await;
    drop(agent);
    // Its connection has ended without a word.
    successor.take_over().await.unwrap();
}

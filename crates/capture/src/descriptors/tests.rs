//! Who has been accepted gets an upstream connection; the rest waits outside.

use super::*;

fn reserve() -> Rc<Reserve> {
    Rc::new(Reserve::new(Arc::new(Descriptors::new().unwrap())))
}

fn kept(reserve: &Reserve) -> usize {
    reserve.kept.borrow().len()
}

#[test]
fn each_client_has_one_in_reserve_until_it_has_its_upstream() {
    let reserve = reserve();
    let mut clients = Vec::new();
    for n in 1..=10 {
        reserve.make_room().unwrap();
        clients.push(reserve.client());
        assert!(kept(&reserve) >= n);
    }
    reserve.give_up_margin();
    assert_eq!(kept(&reserve), 10);
    let mut upstreams: Vec<_> = (0..4).map(|_| reserve.upstream()).collect();
    assert_eq!(kept(&reserve), 6);
    // An upstream connection that ends is replaced by one in reserve.
    upstreams.pop();
    assert_eq!(kept(&reserve), 7);
    clients.truncate(3);
    reserve.give_up_margin();
    assert_eq!(kept(&reserve), 0);
    drop((clients, upstreams));
    reserve.give_up_margin();
    assert_eq!(kept(&reserve), 0);
}

#[test]
fn nobody_is_accepted_while_an_upstream_connection_waits() {
    let reserve = reserve();
    let waiting = reserve.shared().wait();
    assert!(is_shortage(&reserve.make_room().unwrap_err()));
    assert_eq!(kept(&reserve), 0);
    drop(waiting);
    reserve.make_room().unwrap();
}

#[test]
fn warnings_are_rare() {
    let (mut told, start) = (Told::default(), Instant::now());
    let said =
        (0..300).filter(|n| told.is_to_be_said(start + Duration::from_millis(100) * *n)).count();
    assert_eq!(said, 3);
}

#[test]
fn idle_upstream_connections_are_spare_only_in_need() {
    let reserve = reserve();
    let (_client, _upstreams) = (reserve.client(), [reserve.upstream(), reserve.upstream()]);
    assert_eq!(reserve.spare_upstreams(), 0);
    reserve.shared().ran_out(&Errno::MFILE.into());
    assert_eq!(reserve.spare_upstreams(), 1);
}

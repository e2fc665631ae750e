use super::*;

fn edited(text: &str, syntax: Syntax, edit: &Edit) -> Option<String> {
    super::edit(
        text.as_bytes(),
        syntax,
        |name, _| if name == b"a b" { edit.clone() } else { Edit::Keep },
    )
    .map(|text| String::from_utf8(text).unwrap())
}

#[test]
fn values_of_pairs_are_replaced() {
    let x = || Edit::With(b"X".to_vec());
    for (text, with, without) in [
        ("a%20b=1", "a%20b=X", ""),
        ("c=%41&a+b=1&a%20b=2&d", "c=%41&a+b=X&a%20b=X&d", "c=%41&d"),
        ("a+b=&c", "a+b=X&c", "c"),
        ("a%20b=x=y", "a%20b=X", ""),
    ] {
        assert_eq!(edited(text, Syntax::Form, &x()).as_deref(), Some(with));
        assert_eq!(edited(text, Syntax::Form, &Edit::Remove).as_deref(), Some(without));
    }
    for text in ["", "a+b", "c=1&d=2", "%zz=1&%=2"] {
        assert_eq!(edited(text, Syntax::Form, &x()), None, "{text}");
    }
}

#[test]
fn values_of_cookies_are_replaced() {
    let x = || Edit::With(b"X".to_vec());
    assert_eq!(edited("s=1; a b=2; t=3", Syntax::Cookies, &x()).unwrap(), "s=1; a b=X; t=3");
    assert_eq!(edited("a b=2;t=3", Syntax::Cookies, &Edit::Remove).unwrap(), "t=3");
    assert_eq!(edited("s=1; a b=2; t=3", Syntax::Cookies, &Edit::Remove).unwrap(), "s=1; t=3");
    assert_eq!(edited("a b=2; t=3", Syntax::Cookies, &Edit::Remove).unwrap(), "t=3");
    assert_eq!(edited("a%20b=2", Syntax::Cookies, &x()), None);
    let nameless = |name: &[u8], _: &[u8]| match name {
        b"" => Edit::With(b"X".to_vec()),
        _ => Edit::Keep,
    };
    assert_eq!(super::edit(b"s=1; bare", Syntax::Cookies, nameless).unwrap(), b"s=1; X");
}

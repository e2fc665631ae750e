//! `umbra report`: every form from one file; and the page of HTML in a real browser,
//! where it has to work without a network, by keyboard, and with whatever text traffic
//! brings.

#[path = "../crates/compare/examples/sample_report/shop.rs"]
mod shop;

use std::{fs, path::PathBuf};

use tempfile::TempDir;
use umbra_compare::report::{Document, Format};

use crate::support::{browser::Browser, process::Umbra};

fn write(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_report_is_rendered_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let json = shop::document().render(Format::Json);
    let file = write(&dir, "run.json", &json);
    let out = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let report = || Umbra::new("report").arg(file.to_str().unwrap());

    let text = report().run();
    assert_eq!(text.code, Some(0), "{}", text.stderr);
    assert!(text.stdout.contains("DIFFERENT  v2: "), "{}", text.stdout);
    assert!(!text.stdout.contains('\u{1b}'), "no colour where there is no terminal");
    let again = report().flag("output", "json").run().stdout;
    assert!(again.starts_with("{\n  \"format\": \"umbra-report/1\""), "{again}");

    let ended = report().arg(out("a.html")).arg(out("a.md")).arg(out("a.xml")).run();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    for (name, word) in
        [("a.html", "<!doctype html>"), ("a.md", "## Umbra"), ("a.xml", "<testsuites")]
    {
        assert!(fs::read_to_string(out(name)).unwrap().contains(word), "{name}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "nothing else is left there");
}

#[test]
fn what_cannot_be_rendered_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir, "other.json", r#"{"log":"x"}"#);
    let file = file.to_str().unwrap();
    let fails = |umbra: Umbra, code: i32, word: &str| {
        let ended = umbra.run();
        assert_eq!(ended.code, Some(code), "{}", ended.stderr);
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    };
    let report = |file: &str| Umbra::new("report").arg(file);
    fails(Umbra::new("report"), 64, "FILE");
    fails(report(file).arg("a.pdf"), 64, ".html");
    fails(report("/no/such/report.json"), 66, "/no/such/report.json");
    fails(report(dir.path().to_str().unwrap()), 66, "");
    fails(report(file), 65, "not a report");
    let good = write(&dir, "good.json", &Document::default().render(Format::Json));
    fails(report(good.to_str().unwrap()).arg("/no/such/dir/a.html"), 74, "/no/such/dir/a.html");
}

/// Where the pictures go, for people to look at.
fn picture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.png"))
}

const VISIBLE: &str =
    "[...document.querySelectorAll('.finding')].filter(item => !item.hidden).length";
const OPEN: &str = "document.querySelectorAll('.head[aria-expanded=true]').length";
const FOCUSED: &str = "[...document.querySelectorAll('.finding:not([hidden])')].findIndex(item => item.contains(document.activeElement))";

#[test]
fn the_page_works_in_a_browser() {
    let dir = tempfile::tempdir().unwrap();
    let document = shop::document();
    let file = write(&dir, "run.html", &document.render(Format::Html));
    let mut page = Browser::start();

    page.open(&file, 1280, false);
    assert_eq!(page.eval("document.querySelector('h1').textContent"), "\u{2715}Different");
    let findings = &document.targets[0].compare.findings;
    let all = page.eval("document.querySelectorAll('.finding').length");
    assert_eq!(all, findings.len());
    for finding in findings {
        let shown = "document.getElementById('list').textContent";
        let shown = page.eval(shown).as_str().unwrap().to_owned();
        assert!(shown.contains(&finding.endpoint) && shown.contains(&finding.field));
    }
    filters(&mut page);
    keys(&mut page);
    structure(&mut page);
    looks(&mut page, &file);
}

fn filters(page: &mut Browser) {
    let start = page.eval(VISIBLE);
    assert!(start.as_u64() < page.eval("document.querySelectorAll('.finding').length").as_u64());
    page.key("/");
    assert_eq!(page.eval("document.activeElement.id"), "search");
    page.type_text("price");
    assert_eq!(page.eval(VISIBLE), 1);
    assert!(page.eval("document.getElementById('count').textContent").to_string().contains("1 of"));
    page.key("Escape");
    assert_eq!(page.eval(VISIBLE), start, "Esc clears the search");
    page.type_text("no such thing");
    assert_eq!(page.eval(VISIBLE), 0);
    assert_eq!(page.eval("document.getElementById('empty').hidden"), false);
    page.key("Escape");
    page.key("Escape");
    assert_ne!(page.eval("document.activeElement.id"), "search", "and then leaves it");

    let choose = |id: &str, value: &str| {
        format!(
            "(() => {{ const e = document.getElementById('{id}'); e.value = '{value}'; \
             e.dispatchEvent(new Event('change', {{ bubbles: true }})); return e.value; }})()"
        )
    };
    assert_eq!(page.eval(&choose("endpoint", "POST /login")), "POST /login");
    assert_eq!(page.eval(VISIBLE), 3);
    assert_eq!(page.eval(&choose("field", "header:location")), "header:location");
    assert_eq!(page.eval(VISIBLE), 1);
    page.eval(&choose("endpoint", ""));
    page.eval(&choose("field", ""));
    page.eval("document.querySelector('input[value=confirmed]').click()");
    let without = page
        .eval("document.querySelectorAll('.finding:not([hidden])[data-class=confirmed]').length");
    assert_eq!(without, 0);
    page.eval("document.querySelector('input[value=confirmed]').click()");
    assert_eq!(page.eval(VISIBLE), start);
}

fn keys(page: &mut Browser) {
    page.eval("document.activeElement.blur()");
    page.key("j");
    page.key("j");
    page.key("j");
    page.key("k");
    assert_eq!(page.eval(FOCUSED), 1);
    let outline = page.eval("getComputedStyle(document.activeElement).outlineStyle");
    assert_eq!(outline, "solid", "where the focus is can be seen");
    page.key("Enter");
    assert_eq!(page.eval(OPEN), 1);
    let rows = page.eval("document.querySelectorAll('.diff tr').length");
    assert!(rows.as_u64() > Some(1), "both answers side by side: {rows}");
    page.key("Escape");
    assert_eq!((page.eval(OPEN), page.eval(FOCUSED)), (0.into(), 1.into()));
    page.key("?");
    assert_eq!(page.eval("document.getElementById('help').open"), true);
    page.key("Escape");
}

/// What a screen reader goes by: labels, headings, tables with headers.
fn structure(page: &mut Browser) {
    let nameless = "[...document.querySelectorAll('button, input, select')].filter(e => \
        !e.textContent.trim() && !e.labels?.length && !e.getAttribute('aria-label')).length";
    assert_eq!(page.eval(nameless), 0);
    let headless = "[...document.querySelectorAll('table')].filter(e => \
        !e.querySelector('th[scope]')).length";
    assert_eq!(page.eval(headless), 0);
    assert_eq!(page.eval("document.querySelectorAll('h1').length"), 1);
    assert_eq!(page.eval("document.documentElement.lang"), "en");
    let images = "[...document.querySelectorAll('svg, [role=img]')].every(e => \
        e.getAttribute('aria-label'))";
    assert_eq!(page.eval(images), true);
    let latencies = page.eval("document.querySelectorAll('svg path.line').length");
    assert!(latencies.as_u64() > Some(3), "{latencies}");
}

/// The least contrast of any text on the page with what is behind it, and that text.
const CONTRAST: &str = r"(() => {
    const context = Object.assign(document.createElement('canvas'), { width: 1, height: 1 })
        .getContext('2d', { willReadFrequently: true });
    const over = (colors) => {
        context.clearRect(0, 0, 1, 1);
        for (const color of colors) { context.fillStyle = color; context.fillRect(0, 0, 1, 1); }
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = (rgb) => rgb.map(v => v / 255)
        .map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    let worst = [99, ''];
    const walker = document.createTreeWalker(document.getElementById('app'), NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest('.sr, option')) continue;
        const behind = [];
        for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
        const style = getComputedStyle(element);
        const ink = element.namespaceURI.endsWith('svg') ? style.fill : style.color;
        const [one, other] = [light(over([...behind, ink])), light(over(behind))];
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        if (ratio < worst[0]) worst = [ratio, `${element.className} ${walker.currentNode.data}`];
    }
    return worst;
})()";

/// Wide and narrow, light and dark: nothing sticks out, all can be read.
fn looks(page: &mut Browser, file: &std::path::Path) {
    let mut backgrounds = Vec::new();
    for width in [1280, 390] {
        for dark in [false, true] {
            let name = format!("{width}-{}", if dark { "dark" } else { "light" });
            page.open(file, width, dark);
            page.eval(
                "document.querySelectorAll('.head').forEach((head, at) => at % 4 || head.click())",
            );
            let sticks_out = page.eval("document.documentElement.scrollWidth - innerWidth");
            assert!(sticks_out.as_i64() <= Some(0), "{name}: {sticks_out} pixels too wide");
            let contrast = page.eval(CONTRAST);
            assert!(contrast[0].as_f64() >= Some(4.5), "{name}: {contrast}");
            backgrounds.push(page.eval("getComputedStyle(document.body).backgroundColor"));
            page.picture(width, &picture(&name));
            assert_eq!(page.complaints(), Vec::<&serde_json::Value>::new());
            assert_eq!(page.requests(), [format!("file://{}", file.display())]);
        }
    }
    assert_ne!(backgrounds[0], backgrounds[1], "dark is dark");
    // The switch wins over what the system prefers.
    page.eval("document.getElementById('theme').click()");
    let switched = page.eval("getComputedStyle(document.body).backgroundColor");
    assert_eq!(switched, backgrounds[0]);
}

const HOSTILE: &[&str] = &[
    "</script><script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "<!--<script>",
    "\"><svg onload=window.pwned=1>",
    "javascript:window.pwned=1",
    "{{data}} \u{2028}\u{2029}\u{0}\u{202e} __proto__ &lt;b&gt; '\\",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>",
];

#[test]
fn nothing_that_traffic_brings_becomes_part_of_the_page() {
    let mut document = shop::document();
    let mut next = HOSTILE.iter().cycle().map(|text| (*text).to_owned());
    let mut hostile = || next.next().unwrap();
    document.job = hostile();
    document.log = hostile();
    document.baseline = hostile();
    document.notes = vec![hostile()];
    for target in &mut document.targets {
        (target.name, target.url) = (hostile(), hostile());
        target.failed = [(hostile(), 3)].into();
        target.compare.not_compared = [(hostile(), 3)].into();
        for finding in &mut target.compare.findings {
            (finding.endpoint, finding.field) = (hostile(), hostile());
            finding.ignore = Some(hostile());
            for example in &mut finding.examples {
                example.note = hostile();
                example.expected = Some(hostile());
                example.actual = Some(hostile());
            }
        }
        for pair in &mut target.compare.statuses {
            pair.actual = hostile();
        }
        for endpoint in &mut target.compare.endpoints {
            endpoint.endpoint = hostile();
        }
        for exchange in &mut target.exchanges {
            (exchange.method, exchange.path) = (hostile(), hostile());
            for side in [&mut exchange.expected, &mut exchange.actual] {
                side.headers.push((hostile(), hostile()));
                side.body = Some(format!("{}\n{}", hostile(), hostile()));
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = write(&dir, "hostile.html", &document.render(Format::Html));
    let mut page = Browser::start();
    page.open(&file, 1280, false);
    page.eval("document.querySelectorAll('.head').forEach(head => head.click())");
    let foreign = "document.querySelectorAll('#app img, #app iframe, #app script, #app a[href^=j], \
                   body > :not(noscript, #app, script)').length";
    assert_eq!(page.eval(foreign), 0);
    assert_eq!(page.eval("document.scripts.length"), 2);
    assert_eq!(page.eval("typeof window.pwned"), "undefined");
    let text = page.eval("document.getElementById('app').textContent");
    for hostile in HOSTILE {
        let shown = text.as_str().unwrap().contains(hostile);
        assert!(shown, "shown as it is: {hostile}");
    }
    assert_eq!(page.complaints(), Vec::<&serde_json::Value>::new());
    assert_eq!(page.requests().len(), 1);
}

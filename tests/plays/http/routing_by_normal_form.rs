//! Routes match what is asked for, however it is spelled; the upstream gets the original spelling.

use crate::support::*;
use serde_json::json;

/// A part of the site that is closed, and an upstream for the rest.
fn guarded(origin: &Origin) -> Proxy {
    let shut = |matcher| json!({"match": matcher, "respond": {"status": 403, "body": "shut"}});
    let routes = json!([
        shut(json!({"path_prefix": "/admin"})),
        shut(json!({"path": "/exact"})),
        shut(json!({"path_prefix": "/@staff"})),
        shut(json!({"host": "admin.example"})),
        shut(json!({"host": "*.inner.example"})),
        shut(json!({"host": "::1"})),
        shut(json!({"host": "[2001:db8::1]"})),
    ]);
    Config::to(origin).set("routes", routes).start()
}

#[test]
fn no_other_spelling_of_a_path_gets_around_a_route() {
    let origin = Origin::hello();
    let proxy = guarded(&origin);
    let mut client = proxy.client();
    for path in [
        "/admin",
        "/admin/x",
        "/admin?x",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2E/admin/",
        "//admin",
        "/%61dmin",
        "/%61%64%6D%69%6e",
        "/\\admin",
        "/x\\..\\admin",
        "/x/.//../admin/..//admin",
        "/exact",
        "//exact",
        "/%65xact?/../x",
        "/x/../exact",
        "/@staff/x",
        "/%40staff/x",
        "http://shop.example/./admin",
        "http://shop.example//admin",
    ] {
        assert_eq!(client.get(path).expect(403).text().trim_end(), "shut", "{path}");
    }
    assert_eq!(origin.connections(), 0);
    // These are other paths; they go on as they were sent.
    for path in ["/admin%2Fx", "/adminx", "/x%2F..%2Fadmin", "/exact/", "/.%2Fadmin", "/%2561dmin", "/x/../y//z/./%41", "/100%", "/a%zz"] {
        assert_eq!(client.get(path).expect(200).text(), format!("GET {path}"));
    }
}

#[test]
fn no_other_spelling_of_a_host_gets_around_a_route() {
    let origin = Origin::hello();
    let proxy = guarded(&origin);
    for host in [
        "admin.example",
        "ADMIN.example:8080",
        "admin.example.",
        "Admin.Example.:80",
        "a.inner.example",
        "a.INNER.example.",
        "[::1]",
        "[0:0:0:0:0:0:0:1]:80",
        "[2001:DB8:0::0:1]",
    ] {
        ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(403);
        ask(proxy.addr(), format!("GET http://{host}/x HTTP/1.1\r\nHost: shop.example\r\n\r\n")).expect(403);
    }
    for host in ["%61dmin.example", "admin%2Eexample", "admin..example", ".admin.example", ".", "a%00", "[::1%25eth0]"] {
        ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(400);
        ask(proxy.addr(), format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n")).expect(400);
    }
    for host in ["inner.example", "shop.example", "[::2]"] {
        ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(200);
        assert_eq!(origin.requests().pop().unwrap().fields.get("Host"), Some(host));
    }
}

#[test]
fn what_climbs_above_the_root_is_refused() {
    let origin = Origin::hello();
    let proxy = guarded(&origin);
    for path in ["/..", "/../admin", "/x/../../admin", "/%2e%2e/x", "/..\\x", "//../x", "http://a/.."] {
        let answer = ask(proxy.addr(), format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = proxy.expect_refusal(answer, 400, "http_request_error");
        assert!(answer.text().contains("above its root"), "{}", answer.text());
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_route_for_everything_takes_everything() {
    let origin = Origin::hello();
    let routes = json!([{"match": {"path_prefix": "/"}, "respond": {"status": 403, "body": "shut"}}]);
    let proxy = Config::to(&origin).set("routes", routes).start();
    for line in ["GET http://shop?x", "GET http://shop", "GET /", "GET /?x", "OPTIONS *", "OPTIONS http://shop"] {
        ask(proxy.addr(), format!("{line} HTTP/1.1\r\nHost: shop\r\n\r\n")).expect(403);
    }
    assert_eq!(origin.connections(), 0);
    let open = Config::to(&origin).start();
    for (line, what) in [("GET http://shop?x", "GET /?x"), ("OPTIONS *", "OPTIONS *"), ("OPTIONS http://shop", "OPTIONS *")] {
        let answer = ask(open.addr(), format!("{line} HTTP/1.1\r\nHost: shop\r\n\r\n")).expect(200);
        assert_eq!(answer.text(), what);
    }
}

/// A limit is for what is asked for as well.
#[test]
fn another_spelling_has_no_rate_of_its_own() {
    let origin = Origin::hello();
    let limit = json!({"requests_per_second": 1, "burst": 1});
    let routes = json!([{"match": {"path_prefix": "/login"}, "proxy": "default", "rate_limit": limit}]);
    let proxy = Config::to(&origin).set("routes", routes).start();
    let mut client = proxy.client();
    client.get("/login").expect(200);
    let refused =
        ["//login", "/./login", "/%6Cogin", "/x/../login", "/login/"].iter().filter(|path| client.get(path).status == 429).count();
    assert!(refused >= 3, "{refused} of 5 were refused");
}

#[test]
fn what_is_configured_is_read_in_the_same_way() {
    let origin = Origin::hello();
    let shut = |matcher| json!({"match": matcher, "respond": {"status": 403, "body": "shut"}});
    let routes =
        json!([shut(json!({"path": "/a/../b%7e"})), shut(json!({"path_prefix": "//caf\u{e9}/"})), shut(json!({"host": "Shop.Example."})),]);
    let proxy = Config::to(&origin).set("routes", routes).start();
    let mut client = proxy.client();
    client.get("/b~").expect(403);
    client.get("/caf%c3%a9/x").expect(403);
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    client.response().expect(403);
    for (matcher, why) in [
        ("path: /a/../../b", "climbs above its root"),
        ("path_prefix: /..", "climbs above its root"),
        ("host: \"*.10.0.0.1\"", "no names under an address"),
    ] {
        let config = format!("routes: [{{match: {{{matcher}}}, respond: {{}}}}]\n");
        let (status, _, said) = Launch::new(["check", "config.yaml"]).file("config.yaml", &config).run();
        assert!(status == 2 && said.contains(why), "{matcher}: {status} {said}");
    }
}

/// The admin port's pages are what is asked for, too.
#[test]
fn the_admin_port_reads_targets_no_otherwise() {
    let proxy = Config::to(&Origin::hello()).start();
    for path in ["//health", "/./health", "/%68ealth?x"] {
        get(proxy.admin(), path).expect(200);
    }
    get(proxy.admin(), "/../health").expect(400);
}

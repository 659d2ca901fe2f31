//! The chapter as its README shows it, and what every chapter does when there is
//! no etcd where it looks for one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::CONNECT_TIMEOUT;
use etcd_client::{Client, GetOptions, KeyValue};
use etcd_server::Server;
use snapbox::cmd::OutputAssert;
use testing::{Desk, Program, program_at};

#[test]
fn prints_what_the_readme_shows() -> Result<()> {
    testing::follow(include_str!("../README.md"), include_str!("../src/main.rs"))
}

#[test]
fn tells_right_from_wrong_in_the_exercises() -> Result<()> {
    let lost = "broken: 8 clients added 400, the counter says 50 (350 updates lost)";
    let unstaged = "no verdict: only 1 of 8 clients has read the counter, the others wait for it; \
                    they stand for 8 programs on as many machines, which know nothing of each \
                    other but what etcd tells them";
    let list = |missing, twice| {
        format!(
            "broken: 100 parcels were there at every moment, {missing} of them are missing in the \
             list and {twice} are in it more than once"
        )
    };
    testing::exercises(
        include_str!("../README.md"),
        &[include_str!("../examples/counter/main.rs"), include_str!("../examples/pages/main.rs")],
        &[
            ("counter solution", "held: 8 clients added 400, the counter says 400"),
            ("counter wrong_once", lost),
            ("counter wrong_mutex", unstaged),
            ("pages solution", "held: all 100 parcels, each once, as they lay at one moment"),
            ("pages wrong_last", &list(0, 10)),
            ("pages wrong_newest", &list(8, 8)),
            ("pages wrong_whole", "broken: 100 parcels take 10 answers, etcd gave 1"),
        ],
    )
}

#[test]
#[ignore = "yours.rs is for students to edit"]
fn untouched_exercises_print_what_the_readme_shows() -> Result<()> {
    testing::follow_untouched(include_str!("../README.md"))
}

#[tokio::test]
async fn exercises_touch_no_keys_but_their_own() -> Result<()> {
    let server = Server::start()?;
    let mut client = Client::connect([server.address().to_string()], None).await?;
    for key in ["class/counter", "class/counter/", "class0", "exercise/counter", "other"] {
        client.put(key, "0", None).await?;
    }
    let before = client.get("", Some(GetOptions::new().with_all_keys())).await?;

    for (prefix, answer) in [("class", "mistake"), ("class/", "solution"), ("", "wrong_once")] {
        let mut exercise = program_at(&server, "examples/counter")?;
        exercise.arg(answer).env("EXERCISE_PREFIX", prefix);
        Program::start(exercise)?.end()?;
    }
    let after = client.get("", Some(GetOptions::new().with_all_keys())).await?;
    let revision = |kv: &KeyValue| (kv.key().to_vec(), kv.mod_revision());
    let kept = before.kvs().iter().map(revision);
    ensure!(kept.eq(after.kvs().iter().map(revision)), "{:?}", after.kvs());
    Ok(())
}

/// Runs the chapter where this is set, which ends it with status 1 and nothing
/// on stdout, in time.
fn failing(variable: &str, value: &str) -> OutputAssert {
    snapbox::cmd::Command::new(env!("CARGO_BIN_EXE_put-get"))
        .env_remove("ETCDCTL_ENDPOINTS")
        .env_remove("ETCDCTL_USER")
        .env_remove("ETCDCTL_CACERT")
        .env_remove("ETCDCTL_CERT")
        .env("RUST_BACKTRACE", "1")
        .env(variable, value)
        .timeout(CONNECT_TIMEOUT + Duration::from_secs(2))
        .assert()
        .code(1)
        .stdout_eq("")
}

#[test]
fn names_a_host_that_does_not_exist() {
    failing("ETCDCTL_ENDPOINTS", "no-such-host.invalid:2379").stderr_eq(
        "Error: cannot reach etcd at no-such-host.invalid:2379: failed to lookup address \
         information: [..] (named by ETCDCTL_ENDPOINTS; unset it to use an etcd on this machine)\n",
    );
}

#[test]
fn gives_up_on_a_server_that_accepts_and_says_nothing() -> Result<()> {
    let mute = TcpListener::bind("127.0.0.1:0")?; // the system accepts for it
    let address = mute.local_addr()?;
    failing("ETCDCTL_ENDPOINTS", &address.to_string())
        .stderr_eq(format!("Error: cannot reach etcd at {address}: no answer [..]\n"));
    Ok(())
}

#[test]
fn tells_a_web_server_from_etcd() -> Result<()> {
    let web = TcpListener::bind("127.0.0.1:0")?;
    let address = web.local_addr()?;
    thread::spawn(move || {
        for connection in web.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 1000]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let what = "what answers there is not etcd, or expects TLS";
    failing("ETCDCTL_ENDPOINTS", &address.to_string())
        .stderr_eq(format!("Error: cannot reach etcd at {address}: {what} [..]\n"));
    // The same where it sits on the port of this machine's etcd: none is started.
    failing("ETCD_LOCAL_PORT", &address.port().to_string()).stderr_eq(format!(
        "Error: cannot reach etcd at {address}: {what} [..] \
         (stop what holds that port, or set ETCD_LOCAL_PORT to a free one)\n"
    ));
    Ok(())
}

#[test]
fn says_which_endpoint_it_cannot_use() {
    for (value, error) in [
        (" ", "ETCDCTL_ENDPOINTS is set to \" \", which names no endpoint; [..]"),
        (" , ,", "ETCDCTL_ENDPOINTS is set to \" , ,\", which names no endpoint; [..]"),
        ("localhost", "cannot use \"localhost\" from ETCDCTL_ENDPOINTS: write host:port[..]"),
        ("http://a b:1", "cannot use \"http://a b:1\" from ETCDCTL_ENDPOINTS: write host:port[..]"),
        ("ftp://a:1", "cannot use \"ftp://a:1\" from ETCDCTL_ENDPOINTS: write host:port[..]"),
        ("a^b:1", "cannot use a^b:1: invalid uri: invalid uri character"),
    ] {
        failing("ETCDCTL_ENDPOINTS", value).stderr_eq(format!("Error: {error}\n"));
    }
    for port in ["etcd", "0", "99999"] {
        failing("ETCD_LOCAL_PORT", port)
            .stderr_eq(format!("Error: ETCD_LOCAL_PORT is set to {port:?}, which is not a port\n"));
    }
}

#[test]
fn takes_endpoints_as_etcdctl_does() -> Result<()> {
    let mut desk = Desk::new()?;
    desk.start_server()?;
    let address = desk.address;
    for endpoints in ["", &format!(" http://{address} ,, {address},")] {
        let mut chapter = desk.command("put-get")?;
        chapter.env("ETCDCTL_ENDPOINTS", endpoints);
        Program::start(chapter)?.expect("testkey,testvalues")?;
    }
    Ok(())
}

#[test]
fn goes_on_without_the_endpoints_that_do_not_answer() -> Result<()> {
    let mut desk = Desk::new()?;
    desk.start_server()?;
    for _ in 0..10 {
        let mut chapter = desk.command("put-get")?;
        chapter.env("ETCDCTL_ENDPOINTS", format!("127.0.0.1:1,{},127.0.0.1:2", desk.address));
        Program::start(chapter)?.end_well(&[
            "without 127.0.0.1:1: connection refused",
            "without 127.0.0.1:2: connection refused",
            "testkey,testvalues",
        ])?;
    }
    failing("ETCDCTL_ENDPOINTS", "127.0.0.1:1,127.0.0.1:2").stderr_eq(
        "Error: cannot reach etcd at 127.0.0.1:1, 127.0.0.1:2: connection refused (named by [..])\n",
    );
    Ok(())
}

#[test]
fn two_chapters_started_at_once_share_one_server() -> Result<()> {
    let mut desk = Desk::new()?;
    let chapters =
        [Program::start(desk.command("put-get")?)?, Program::start(desk.command("delete")?)?];
    let mut lines = Vec::new();
    for chapter in chapters {
        let (shown, status) = chapter.end()?;
        shown.iter().for_each(|line| desk.note_server(line));
        ensure!(status.success(), "{status}: {shown:?}");
        lines.extend(shown);
    }
    let started = lines.iter().filter(|line| line.starts_with("started etcd ")).count();
    ensure!(started == 1, "{lines:#?}");
    Ok(())
}

#[test]
fn the_server_outlives_the_chapter_and_ctrl_c() -> Result<()> {
    let mut desk = Desk::new()?;
    let mut watch = desk.command("watch")?;
    watch.process_group(0); // as a shell does, so that Ctrl-C is for all of it
    let watch = Program::start(watch)?;
    desk.note_server(&watch.line()?.context("no line")?);
    watch.expect("watching testkey")?;
    let kill = format!("kill -INT -{}", watch.id());
    ensure!(Command::new("sh").args(["-c", &kill]).status()?.success());
    // It ends, and with it the pipe to this test: the server does not hold it.
    watch.end()?;
    Program::start(desk.command("put-get")?)?.expect("testkey,testvalues")
}

#[test]
fn says_why_etcd_does_not_start() -> Result<()> {
    let mut desk = Desk::new()?;
    let data = etcd_server::background_data(desk.address);
    let mut failing = |etcd: &str| -> Result<Vec<String>> {
        let mut chapter = desk.command("put-get")?;
        chapter.env("ETCD", etcd);
        let (lines, status) = Program::start(chapter)?.end()?;
        lines.iter().for_each(|line| desk.note_server(line));
        ensure!(status.code() == Some(1), "{status}: {lines:#?}");
        Ok(lines)
    };
    let missing = failing("/no/such/etcd")?;
    ensure!(
        missing[0].starts_with("Error: cannot start /no/such/etcd, which ETCD names"),
        "{missing:#?}"
    );

    // etcd wants a folder of that name, says so in its log, and ends.
    fs::create_dir(&data)?;
    fs::write(data.join("member"), "")?;
    let ended = failing("")?;
    ensure!(ended[0].contains(" ended with exit status: 1; its log, target/etcd-"), "{ended:#?}");
    ensure!(ended.iter().any(|line| line.contains("not a directory")), "{ended:#?}");
    Ok(())
}

#[test]
fn does_not_wait_for_data_that_another_etcd_holds() -> Result<()> {
    let mut holder = Desk::new()?;
    holder.start_server()?;
    let desk = Desk::new()?;
    let [held, wanted]: [_; 2] = [&holder, &desk].map(|d| etcd_server::background_data(d.address));
    fs::rename(&held, &wanted)?;
    let (lines, status) = Program::start(desk.command("put-get")?)?.end()?;
    ensure!(status.code() == Some(1), "{status}: {lines:#?}");
    ensure!(lines[0].starts_with("Error: another etcd holds the data in target/"), "{lines:#?}");
    Ok(())
}

//! Tests of the diagnosis from constructed evidence.

use super::*;
use crate::control::status::{FixStatus, LinkStatus, ReceiverStatus};

const CONFIG: &str = "van.id = \"VAN-042\"\nmqtt.broker = \"mqtts://broker.example.com\"\nmqtt.username = \"VAN-042\"\ngnss.hunt = false\n";

/// Evidence without a failure.
fn healthy() -> Evidence {
    let status = Status {
        version: "0.1.0".to_owned(),
        van: "VAN-042".to_owned(),
        uptime_s: 300,
        receiver: ReceiverStatus {
            state: "open".to_owned(),
            mode: 3,
            sentences: 900,
            sentence_age_s: Some(0.2),
            antenna: Some("ok".to_owned()),
            ..ReceiverStatus::default()
        },
        fix: Some(FixStatus { age_s: 0.4, mode: 3, sats: Some(9), ..FixStatus::default() }),
        time: "trusted".to_owned(),
        link: LinkStatus { state: "connected".to_owned(), ..LinkStatus::default() },
        scanners: vec![ScannerStatus { state: "open".to_owned(), ..ScannerStatus::default() }],
        ..Status::default()
    };
    Evidence {
        agent: AgentStatusResult::Answered(Box::new(status)),
        config: Ok(Box::new(Config::parse(CONFIG, "test", &[]).unwrap())),
        device: None,
        tls_files: None,
        probes: Vec::new(),
    }
}

fn with(state_mut: impl FnOnce(&mut Status)) -> Evidence {
    let mut evidence = healthy();
    if let AgentStatusResult::Answered(status) = &mut evidence.agent {
        state_mut(status);
    }
    evidence
}

/// No connection, with the stage of the failure, its TLS cause, and the broker's reason code.
fn link(stage: Option<&str>, cause: Option<&str>, reason: Option<&str>) -> Evidence {
    let mut evidence = with(|status| {
        status.link = LinkStatus {
            state: "no link".to_owned(),
            last_error: Some("the agent's error".to_owned()),
            stage: stage.map(str::to_owned),
            cause: cause.map(str::to_owned),
            last_reason: reason.map(str::to_owned),
            backoff_s: Some(8.0),
            ..LinkStatus::default()
        };
    });
    evidence.probes = vec![probe(ProbeResult::Reachable)];
    evidence
}

fn probe(reached: ProbeResult) -> Probe {
    Probe { broker: "mqtts://broker.example.com:8883".to_owned(), result: reached }
}

fn reached(reached: &[ProbeResult]) -> Evidence {
    let mut evidence = link(None, None, None);
    evidence.probes = reached.iter().cloned().map(probe).collect();
    evidence
}

fn refused(reason: &str) -> Evidence {
    with(|status| {
        status.link.stage = Some("publish".to_owned());
        status.link.last_reason = Some(reason.to_owned());
    })
}

fn receiver(state_mut: impl FnOnce(&mut ReceiverStatus)) -> Evidence {
    with(|status| state_mut(&mut status.receiver))
}

fn state(state: &str) -> Evidence {
    receiver(|receiver| receiver.state = state.to_owned())
}

/// The first failed check and its remedy.
fn fault_named(evidence: &Evidence) -> (Option<Check>, String) {
    let judgement = diagnose(evidence);
    let first = judgement.findings.into_iter().find(|one| Some(one.part) == judgement.first);
    (judgement.first, first.and_then(|first| first.remedy).unwrap_or_default())
}

#[test]
fn a_van_that_lacks_nothing_is_said_to_be_well() {
    let judgement = diagnose(&healthy());
    assert_eq!(judgement.first, None);
    assert!(judgement.findings.iter().all(|one| one.verdict == Verdict::Fine), "{judgement}");
    assert!(judgement.to_string().ends_with("no problems found\n"));
}

#[test]
fn each_fault_of_the_receiver_is_named_with_its_remedy() {
    let denied = |receiver: &mut ReceiverStatus| receiver.mode = 1;
    for (evidence, part, remedy) in [
        (state("gone"), Check::Device, "/dev/serial/by-id"),
        (state("silent"), Check::Bytes, "power"),
        (state("detecting_baud"), Check::Sentences, "NMEA 0183"),
        (receiver(|one| one.sentence_age_s = None), Check::Sentences, "gnss.hunt = true"),
        (receiver(|one| one.sentence_age_s = Some(60.0)), Check::Sentences, "gnss.baud"),
        (
            receiver(|one| {
                denied(one);
                one.antenna = Some("open".to_owned());
            }),
            Check::Antenna,
            "plug",
        ),
        (
            receiver(|one| {
                denied(one);
                one.antenna = Some("short".to_owned());
            }),
            Check::Antenna,
            "crushed",
        ),
        (receiver(denied), Check::Fix, "wait a minute"),
        (
            receiver(|one| {
                denied(one);
                one.sats_in_view = Some(0);
            }),
            Check::Fix,
            "antenna",
        ),
        (
            receiver(|one| {
                denied(one);
                one.cn0_dbhz = Some(20);
            }),
            Check::Fix,
            "chargers",
        ),
        (receiver(|one| one.waits_for_date = true), Check::Clock, "RMC or ZDA"),
    ] {
        let (first, said) = fault_named(&evidence);
        assert_eq!(first, Some(part), "{}", diagnose(&evidence));
        assert!(said.contains(remedy), "{remedy}: {said}");
    }
}

#[test]
fn what_only_follows_from_a_fault_is_not_called_wrong() {
    let evidence = with(|status| {
        status.receiver.state = "gone".to_owned();
        status.receiver.mode = 1;
        status.fix = None;
        status.time = "unknown".to_owned();
    });
    let judgement = diagnose(&evidence);
    let wrong = judgement.findings.iter().filter(|one| one.verdict == Verdict::Wrong);
    assert_eq!(wrong.map(|one| one.part).collect::<Vec<_>>(), [Check::Device]);
    assert!(judgement.to_string().contains("first resolve: device"), "{judgement}");
}

#[test]
fn a_passive_antenna_with_a_fix_is_no_fault() {
    let evidence = receiver(|one| one.antenna = Some("open".to_owned()));
    assert_eq!(diagnose(&evidence).first, None);
}

#[test]
fn each_fault_of_the_link_is_named_with_its_remedy() {
    let not_found = || ProbeResult::NameNotFound("no such name".to_owned());
    let no_answer = || ProbeResult::Unreachable("refused".to_owned());
    for (evidence, part, remedy) in [
        (link(Some("dns"), None, None), Check::Dns, "mqtt.broker"),
        (reached(&[not_found(), not_found()]), Check::Dns, "getent"),
        (link(Some("tcp"), None, None), Check::Tcp, "firewall"),
        (reached(&[no_answer()]), Check::Tcp, "port"),
        (reached(&[not_found(), no_answer()]), Check::Tcp, "port"),
        (reached(&[no_answer(), ProbeResult::Reachable]), Check::Mqtt, "log"),
        (link(Some("tls"), Some("files"), None), Check::Tls, "readable"),
        (link(Some("tls"), Some("unknown_authority"), None), Check::Tls, "unknown CA"),
        (link(Some("tls"), Some("expired"), None), Check::Tls, "renew"),
        (link(Some("tls"), Some("not_yet_valid"), None), Check::Tls, "clock"),
        (link(Some("tls"), Some("wrong_name"), None), Check::Tls, "name"),
        (link(Some("tls"), Some("refused"), None), Check::Tls, "mqtt.cert_file"),
        (link(Some("tls"), Some("other"), None), Check::Tls, "uses TLS"),
        (link(Some("mqtt"), None, Some("0x86")), Check::Mqtt, "mqtt.password_file"),
        (link(Some("mqtt"), None, Some("0x87")), Check::Mqtt, "mqtt.password_file"),
        (link(Some("mqtt"), None, Some("0x84")), Check::Mqtt, "3.1.1"),
        (link(Some("mqtt"), None, Some("0x8E")), Check::Mqtt, "own van.id"),
        (link(Some("mqtt"), None, Some("0x97")), Check::Mqtt, "full"),
        (refused("0x87"), Check::Publish, "ACL"),
        (refused("0x97"), Check::Publish, "full"),
        (refused("0x10"), Check::Publish, "require_subscriber"),
        (
            with(|status| status.link.downlink_error = Some("refused".to_owned())),
            Check::Publish,
            "subscribe",
        ),
        (with(|status| status.link.events_too_large = 1), Check::Publish, "max_packet_size"),
    ] {
        let (first, said) = fault_named(&evidence);
        assert_eq!(first, Some(part), "{}", diagnose(&evidence));
        assert!(said.contains(remedy), "{remedy}: {said}");
    }
}

#[cfg(feature = "proxy")]
#[test]
fn behind_a_proxy_only_the_way_to_it_is_judged_from_here() {
    let proxied = |mut evidence: Evidence| {
        let text = format!("{CONFIG}mqtt.proxy = \"http://proxy.example.com:3128\"\n");
        evidence.config = Ok(Box::new(Config::parse(&text, "test", &[]).unwrap()));
        evidence
    };
    let judgement = diagnose(&proxied(link(Some("tcp"), None, None)));
    let tcp = judgement.findings.iter().find(|one| one.part == Check::Tcp).unwrap();
    assert_eq!(tcp.words, "the agent's error", "this program did not get further");
    assert!(tcp.remedy.as_ref().unwrap().contains("mqtt.proxy_username"));
    let judgement = diagnose(&proxied(link(Some("mqtt"), None, Some("0x86")))).to_string();
    assert!(judgement.contains("not checked from here"), "{judgement}");
    let (first, said) =
        fault_named(&proxied(reached(&[ProbeResult::NameNotFound("no such name".to_owned())])));
    assert_eq!(first, Some(Check::Dns));
    assert!(said.contains("the name in mqtt.proxy"), "{said}");
}

#[test]
fn a_failing_disk_and_a_lost_scanner_are_named() {
    for (evidence, part) in [
        (with(|status| status.outbox.failing = true), Check::Outbox),
        (with(|status| status.scanners[0].state = "gone".to_owned()), Check::Scanners),
    ] {
        assert_eq!(fault_named(&evidence).0, Some(part));
    }
    let given_up = with(|status| status.outbox.dropped = 3);
    assert!(diagnose(&given_up).to_string().contains("3 evicted"), "{}", diagnose(&given_up));
}

#[test]
fn without_an_agent_that_is_named_first_and_what_can_be_looked_at_is() {
    let silent = Evidence {
        agent: AgentStatusResult::NoResponse("no agent answers".to_owned()),
        device: Some(Err("not there".to_owned())),
        tls_files: Some(Err("ca.pem: cannot be read".to_owned())),
        probes: vec![probe(ProbeResult::Reachable)],
        ..healthy()
    };
    let judgement = diagnose(&silent);
    assert_eq!(judgement.first, Some(Check::Agent));
    let wrong = judgement.findings.iter().filter(|one| one.verdict == Verdict::Wrong);
    let wrong: Vec<_> = wrong.map(|one| one.part).collect();
    assert_eq!(wrong, [Check::Agent, Check::Device, Check::Tls]);

    let misconfigured =
        Evidence { config: Err("invalid configuration\n  van.id".to_owned()), ..silent };
    let (first, said) = fault_named(&misconfigured);
    assert_eq!(first, Some(Check::Agent));
    assert!(said.contains("journalctl"), "{said}");
    let judgement = diagnose(&misconfigured);
    assert_eq!(judgement.findings[1].verdict, Verdict::Wrong, "{judgement}");
    let running = Evidence { config: Err("not allowed".to_owned()), ..healthy() };
    assert_eq!(diagnose(&running).first, None, "a running agent has read its configuration");
}

#[test]
fn no_word_of_a_receiver_reaches_the_terminal_as_a_command() {
    let evidence = receiver(|one| {
        one.mode = 1;
        one.warning = Some("jam\x1b[2Jmed".to_owned());
    });
    assert!(!diagnose(&evidence).to_string().contains('\x1b'));
}

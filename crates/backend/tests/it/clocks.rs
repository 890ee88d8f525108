//! A wrong clock, of a van or of the backend, deletes nothing and hides nothing.

use waypost_backend::queries::{self, TrackingPageResult};
use waypost_backend::store::retention::{self, ClockProblem, RetentionReport};

use crate::authority::{NOW, PARCEL, Report, known, report, start};
use crate::support::backend::{on_both, set_clock, utc};

const TOKEN: &str = "token of 395212340000000014";

fn delivered(time: &str) -> Report<'_> {
    Report {
        van: "VAN-A",
        kind: "parcel.delivered",
        id: "urn:uuid:delivered",
        seq: 50,
        time,
        route: "R-A",
        epc: PARCEL,
    }
}

#[tokio::test]
async fn a_delivery_of_any_time_ends_the_parcel_at_its_capture_and_no_earlier() {
    for (time, ended, is_told) in [
        ("2007-04-08T12:00:00.000Z", NOW, true),
        ("2026-11-20T12:00:00.000Z", NOW, false),
        ("2026-11-22T11:59:00.000Z", NOW, true),
        ("2026-11-22T12:09:00.000Z", "2026-11-22T12:09:00.000Z", true),
        ("2026-11-23T12:00:00.000Z", NOW, true),
        ("2027-12-27T12:00:00.000Z", NOW, true),
    ] {
        on_both(async |store| {
            let shared = start(store).await;
            report(&shared, delivered(time)).await;
            let (view, end, due, _) = known(&shared, PARCEL).await;
            assert_eq!(view["status"], "delivered", "{time}");
            assert_eq!(end.as_deref(), Some(ended), "{time}");
            // An e-mail about a delivery two days ago would come too late.
            assert_eq!(due.contains(&"delivered".to_owned()), is_told, "{time}: {due:?}");
            let page = queries::page_by_token(&shared, TOKEN).await.unwrap();
            assert!(matches!(page, TrackingPageResult::Page(_)), "{time}");
            let purged = shared.store.purge(shared.now(), &shared.config.retention).await.unwrap();
            assert_eq!(purged, RetentionReport::default(), "{time}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_retraction_takes_back_an_end_of_any_time() {
    on_both(async |store| {
        let shared = start(store).await;
        let first = delivered("2007-04-08T12:00:00.000Z");
        report(&shared, first).await;
        assert!(known(&shared, PARCEL).await.1.is_some());
        report(&shared, Report { kind: "event.retracted", seq: 51, ..first }).await;
        let (view, ended, ..) = known(&shared, PARCEL).await;
        // The van was at the stop all the same.
        assert_eq!((view["status"].as_str(), ended), (Some("arrived"), None));
    })
    .await;
}

#[tokio::test]
async fn nothing_is_deleted_while_the_clock_of_the_backend_is_not_plausible() {
    on_both(async |store| {
        let shared = start(store).await;
        report(&shared, delivered("2026-11-22T11:59:00.000Z")).await;
        for (now, is_behind) in
            [("2027-12-27T12:00:00.000Z", false), ("2026-11-20T12:00:00.000Z", true)]
        {
            set_clock(&shared, now);
            let problem = shared.store.check_clock(shared.now()).await.unwrap().unwrap();
            let (now, newest) = (utc(now), utc(NOW));
            let expected = match is_behind {
                true => ClockProblem::BehindNewestEvent { now, newest },
                false => ClockProblem::LongAfterNewestEvent { now, newest },
            };
            assert_eq!(problem, expected);
            let purged = retention::run_once(&shared).await.unwrap();
            assert_eq!(purged, RetentionReport::default());
        }
        assert_eq!(shared.store.events_for_epc(PARCEL).await.unwrap().len(), 3);
        // The same purge without the check deletes them, so the check is what holds it back.
        let unchecked =
            shared.store.purge(utc("2027-12-27T12:00:00.000Z"), &shared.config.retention);
        assert_eq!(unchecked.await.unwrap().events, 3);
    })
    .await;
}

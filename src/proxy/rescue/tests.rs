use super::*;

/// A refusal in all three shapes, headers and all.
async fn told(name: &str, refusal: &Refusal) -> String {
    let mut told = String::new();
    for shape in [Shape::Native, Shape::OpenAi, Shape::Interactions] {
        let response = refusal.respond(shape);
        told.push_str(&format!("> {name}, {shape:?}\n{}\n", response.status()));
        for header in ["content-type", "retry-after", "x-should-retry"] {
            if let Some(value) = response.headers().get(header) {
                told.push_str(&format!("{header}: {}\n", value.to_str().unwrap()));
            }
        }
        told.push_str(&response.into_body().into_string().await.unwrap());
        told.push('\n');
    }
    told
}

fn out(back_in: Option<Millis>, daily: bool) -> Refusal {
    Refusal::AllOut { model: "gemini-2.5-flash".to_owned(), back_in, daily }
}

#[tokio::test]
async fn a_429_says_when_in_every_shape() {
    let full = Refusal::QueueFull { model: String::new(), back_in: 400 };
    let spent = Refusal::TriesSpent { model: "gemini-2.5-flash".to_owned() };
    let all = [
        told("back in 2.345 s", &out(Some(2_345), false)).await,
        told("back in a minute", &out(Some(60_000), false)).await,
        told("back in more than a minute", &out(Some(60_001), false)).await,
        told("back when the day turns", &out(Some(7 * 3_600_000), true)).await,
        told("back when somebody looks", &out(None, false)).await,
        told("too many wait", &full).await,
        told("tries spent", &spent).await,
    ];
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("all_out", all.concat());
    });
}

#[tokio::test]
async fn a_client_that_may_not_is_told_in_every_shape() {
    let told_of =
        |name: &'static str, denied: Denied| async move { told(name, &Refusal::Denied(denied)).await };
    let all = [
        told_of("disabled", Denied::Disabled).await,
        told_of("expired", Denied::Expired(1_795_003_600_123)).await,
        told_of("address", Denied::Address(Some([192, 0, 2, 1].into()))).await,
        told_of("model", Denied::Model("gemini-2.5-pro".to_owned())).await,
        told_of("no model", Denied::Model(String::new())).await,
        told_of("minute", Denied::Minute { limit: 10, back_in: 12_345 }).await,
        told_of("day", Denied::Day { limit: 1_000, back_in: 3_600_000 }).await,
        told_of("tokens", Denied::Tokens { limit: 1_000_000, back_in: 3_600_000 }).await,
        told_of("concurrent", Denied::Concurrent { limit: 2, back_in: 1_000 }).await,
    ];
    insta::with_settings!({snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("client_limits", all.concat());
    });
}

#[test]
fn seconds_are_never_too_few() {
    for (ms, wanted) in [(-5, "0.001s"), (1, "0.001s"), (999, "0.999s"), (1_000, "1s"), (61_050, "61.050s")] {
        assert_eq!(seconds(ms), wanted);
    }
    for (ms, wanted) in [(-5, 1), (1, 1), (1_000, 1), (1_001, 2)] {
        assert_eq!(seconds_up(ms), wanted);
    }
}

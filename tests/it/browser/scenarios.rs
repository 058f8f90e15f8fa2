//! Which scenarios there are, each with the pool that it looks at.

use gemini_pool::simulated::World;

use super::{Setup, Stage};

/// So many good keys, three to a project.
async fn pool_of(keys: usize) -> Stage {
    let names: Vec<String> = (1..=keys).map(|number| format!("AIza-browser-{number:04}")).collect();
    let mut world = World::new();
    for (number, key) in names.iter().enumerate() {
        world = world.key(&format!("project-{}", number / 3), key);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Stage::new(world, |google| Setup::new(google, &names)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_logs_in_and_out() {
    pool_of(3).await.play("session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_from_an_empty_pool_to_a_served_request() {
    let empty = |google: &_| Setup::new(google, &[]).with("GEMINI_API_KEYS", "").with("ALLOWED_API_KEYS", "");
    Stage::new(World::new(), empty).await.play("first-run");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_page_lives() {
    pool_of(6).await.play("status");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_log_is_live_filtered_and_told_try_by_try() {
    pool_of(3).await.play("requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_keys_are_made_limited_replaced_and_revoked() {
    pool_of(3).await.play("clients");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_added_tested_changed_taken_back_revealed_and_deleted() {
    pool_of(3).await.play("keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_operators_do_not_overwrite_each_other() {
    pool_of(3).await.play("two-operators");
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_scroll_and_are_changed_at_once() {
    pool_of(3).await.play("many-keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grid_of_models_is_walked_by_keyboard() {
    pool_of(6).await.play("models");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_browsed_the_past_looked_at_and_verified() {
    pool_of(3).await.play("history");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_change_while_the_pool_runs() {
    pool_of(3).await.play("settings");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_read_and_tried_on_a_page() {
    pool_of(3).await.play("api-docs");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_reached_by_keyboard_alone() {
    pool_of(3).await.play("keyboard");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody_in_english() {
    pool_of(3).await.play("every-page-en");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_for_everybody_in_chinese() {
    pool_of(3).await.play("every-page-zh");
}

#[tokio::test(flavor = "multi_thread")]
async fn open_pages_live_through_outages_without_a_gap() {
    pool_of(3).await.play("outage");
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_tabs_have_one_feed_and_hand_it_on() {
    pool_of(3).await.play("many-tabs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_open_all_day_is_quick_and_does_not_grow() {
    pool_of(9).await.play("heap");
}

//! The suite that every store must pass: a list of checks. Each has a sentence as its name, and runs in a fresh world.
//!
//! A check is a function of a [`World`] that panics if the store breaks its promise. It needs no runtime of its own, so
//! the caller chooses one. The checks are in two groups:
//!
//! - [`port`]: promises of the trait [`Store`](crate::store::Store). A store elsewhere has to pass them.
//! - [`service`]: what the service makes of a store, such as shared commits and the memory of original clients, also if
//!   the store fails. A store that passes the first group passes these too.
//!
//! [`conformance_suite`](crate::conformance_suite) makes the tests of a store, and
//! [`for_each_conformance_check`](crate::for_each_conformance_check) is the list for everything else.

#![expect(clippy::missing_panics_doc, reason = "a check fails by a panic; there would be nothing else to say")]

pub mod draft;
#[doc(hidden)]
pub mod faults;
pub mod port;
#[doc(hidden)]
pub mod replica;
pub mod service;
pub mod world;

use futures_util::future::LocalBoxFuture;

pub use world::{VirtualHost, World};

/// A check, as a value.
pub type Check = for<'w> fn(&'w World) -> LocalBoxFuture<'w, ()>;

/// Makes a module with one test for each check of a group, `port` or `service`.
///
/// The second argument is a closure that takes a [`Check`](crate::conformance::Check) and runs it in a world over a new
/// store. Paths in it begin with `crate::` or with the name of a crate, since each test is in a module of its own.
///
/// ```
/// syncflow_server::conformance_suite!(port, |check| {
///     let store = std::sync::Arc::new(syncflow_server::store::memory::MemoryStore::new());
///     futures_util::FutureExt::now_or_never(check(&syncflow_server::conformance::World::new(store))).unwrap();
/// });
/// ```
#[macro_export]
macro_rules! conformance_suite {
    ($group:ident, $run:expr) => {
        $crate::for_each_conformance_check!($crate::__conformance_tests => $group $run;);
    };
}

/// The tests of one of the two groups.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_tests {
    (port $run:expr; port { $($checks:tt)* } $service:ident { $($others:tt)* }) => {
        $crate::__conformance_tests!(port: $run; $($checks)*);
    };
    (service $run:expr; port { $($others:tt)* } service { $($checks:tt)* }) => {
        $crate::__conformance_tests!(service: $run; $($checks)*);
    };
    ($group:ident: $run:expr; $($module:ident: [$($check:ident,)*])*) => {
        mod $group {
            $(mod $module {
                $(#[test]
                fn $check() {
                    let run: fn($crate::conformance::Check) = $run;
                    run(|world| ::std::boxed::Box::pin($crate::conformance::$group::$module::$check(world)));
                })*
            })*
        }
    };
}

/// The list of checks: hands it to the macro that is named, behind the tokens that stand after `=>`.
///
/// The macro gets `port { module: [check, …] … } service { … }`. `conformance::port::module::check` is the check, an
/// `async fn(&World)`.
///
/// ```
/// macro_rules! count {
///     ($($group:ident { $($module:ident: [$($check:ident,)*])* })*) => { 0 $($($(+ { stringify!($check); 1 })*)*)* };
/// }
/// assert!(syncflow_server::for_each_conformance_check!(count => ) > 100);
/// ```
#[macro_export]
macro_rules! for_each_conformance_check {
    ($($callback:tt)::+ => $($context:tt)*) => {
        $($callback)::+! {
            $($context)*
            port {
                commit: [
                    of_two_decisions_on_one_revision_only_the_first_is_written,
                    of_two_decisions_to_create_a_document_only_the_first_is_written,
                    a_decision_that_did_not_see_a_tombstone_is_contended,
                    a_decision_that_saw_a_document_which_is_not_there_is_contended,
                    an_id_that_was_pushed_since_the_decision_is_contended,
                    an_id_that_was_compacted_away_since_the_decision_is_contended,
                    a_contended_batch_writes_none_of_its_documents,
                    numbers_are_dense_and_fingerprints_chained_across_contended_batches,
                    a_batch_takes_the_next_numbers_in_its_order,
                    a_document_is_loaded_as_it_was_decided,
                    a_load_answers_what_was_asked_and_exists,
                    a_load_is_bounded_in_bytes,
                    the_largest_group_is_written_at_once,
                    the_number_of_live_documents_follows_every_batch,
                    a_commit_whose_future_is_dropped_has_its_whole_effect_or_none,
                    a_batch_may_change_one_document_many_times,
                    fingerprints_are_loaded_for_places_compacted_or_not,
                ]
                clients: [
                    a_memory_comes_back_as_it_was_remembered,
                    a_memory_that_changed_since_it_was_read_is_not_replaced,
                    clients_do_not_share_a_memory,
                    a_pull_with_a_cursor_notes_how_far_the_client_is,
                    a_pull_with_a_cursor_keeps_the_places_of_an_original_client,
                    a_pull_without_a_client_notes_nobody,
                    the_time_of_a_silent_poll_is_written_once_an_hour,
                    a_refused_cursor_notes_nobody,
                    clients_are_listed_in_the_order_of_their_ids_with_their_progress,
                    a_client_belongs_to_the_subject_that_claims_it_first,
                    an_owner_that_changed_since_the_decision_is_contended,
                    operations_have_their_subjects_only_if_these_are_asked_for,
                ]
                push: [
                    every_operation_of_a_push_has_an_outcome_in_its_place,
                    an_empty_push_changes_nothing,
                    a_known_id_is_accepted_again_and_changes_nothing,
                    an_id_stays_known_when_its_log_entry_is_compacted_away,
                    an_id_that_stands_twice_in_a_push_takes_effect_once,
                    an_earlier_or_concurrent_clock_conflicts_with_the_document_as_it_is,
                    an_equal_or_later_clock_is_applied_and_counts_a_revision,
                    an_unknown_document_takes_every_operation,
                    an_update_merges_one_level_deep,
                    an_insert_over_a_document_replaces_its_data,
                    a_delete_leaves_a_tombstone_that_conflicts_like_a_document,
                    a_delete_of_an_unknown_document_is_logged_and_leaves_a_tombstone,
                    an_update_revives_a_tombstone_alone_and_is_logged_as_an_insert,
                    later_operations_of_a_push_see_earlier_ones,
                    two_devices_with_one_client_id_are_noticed_by_strict_pushes,
                    the_answer_to_a_conflict_with_an_unknown_tombstone_is_enough_to_resolve_it,
                    a_push_that_makes_a_document_too_large_is_refused_as_a_whole,
                    a_push_whose_documents_are_too_much_to_load_is_refused_as_a_whole_and_half_of_it_is_not,
                    a_push_that_conflicts_with_too_much_to_load_is_refused_too,
                    a_push_that_makes_too_much_to_write_is_refused_as_a_whole,
                ]
                log_pull: [
                    an_operation_is_delivered_as_it_was_pushed,
                    pages_follow_the_log_and_say_whether_there_is_more,
                    a_client_that_has_everything_goes_on_from_the_head,
                    own_operations_are_returned_too,
                    a_page_is_bounded_in_bytes,
                    the_bytes_of_a_page_include_its_clocks,
                    a_cursor_beyond_the_head_is_reset,
                    a_cursor_of_another_history_is_reset,
                    a_cursor_behind_the_horizon_is_still_told_from_another_history,
                    every_page_names_its_place_by_the_same_fingerprint,
                ]
                state_pull: [
                    a_client_from_nothing_gets_whole_documents_in_the_order_of_their_last_operations,
                    a_client_from_nothing_gets_only_the_tombstones_from_after_it_began,
                    tombstones_that_are_not_shown_take_no_place_in_a_page,
                    a_client_is_shown_documents_until_a_page_has_shown_the_last_one,
                    a_full_page_that_shows_the_last_document_ends_the_mode,
                    a_cursor_behind_the_horizon_is_shown_the_documents_that_changed_since,
                    the_horizon_may_pass_a_client_between_two_pages,
                    a_client_at_any_cursor_reaches_the_documents_after_any_compaction,
                    the_beginning_shows_tombstones_if_history_is_gone,
                    every_page_is_in_the_mode_that_the_core_chooses,
                    a_feed_of_documents_returns_each_changed_document_once_with_its_revision,
                    a_feed_of_some_collections_moves_over_the_others,
                    a_page_of_some_collections_is_bounded_in_bytes,
                ]
                since_pull: [
                    a_page_has_the_operations_with_a_greater_timestamp_in_its_order,
                    a_page_never_ends_inside_a_run_of_equal_timestamps,
                    a_run_that_fits_the_largest_page_is_delivered_whole,
                    a_run_that_does_not_fit_the_largest_page_is_said_to_be_too_long,
                    a_run_of_more_bytes_than_the_largest_page_is_said_to_be_too_long,
                    documents_stand_in_for_a_history_that_is_gone,
                    a_page_goes_on_behind_any_place,
                ]
                documents: [
                    a_document_is_read_with_everything_that_belongs_to_it,
                    what_does_not_exist_is_nothing,
                    a_query_answers_the_newest_commit_first,
                    a_query_looks_in_one_collection_and_leaves_tombstones_out,
                    a_filter_finds_what_equals_its_values,
                    the_conditions_of_a_filter_all_hold,
                    a_filter_on_id_or_revision_asks_the_server_not_the_data,
                    the_pages_of_a_query_follow_each_other,
                    a_filtered_query_counts_only_what_matches,
                    a_document_that_moves_while_somebody_pages_shifts_no_other,
                    a_page_of_documents_is_bounded_in_bytes,
                    operators_find_the_same_documents_everywhere,
                    operators_ask_the_server_for_id_and_revision,
                    sorted_pages_follow_each_other_in_one_order,
                    a_sorted_page_is_bounded_in_bytes,
                    a_query_gives_clocks_if_it_is_asked_for_them,
                    the_state_of_a_document_has_its_clock_even_if_it_is_deleted,
                ]
                stats: [
                    operations_and_documents_are_counted_exactly,
                    a_compaction_takes_what_it_removes_off_the_operations,
                    the_slowest_client_decides_what_is_unsynced,
                    original_clients_count_too,
                    a_client_with_an_unknown_since_has_pulled_what_it_is_sent_again,
                    a_client_of_an_empty_log_counts_from_the_first_operation,
                    compacted_operations_are_not_unsynced,
                    a_client_counts_for_30_days,
                    a_client_that_only_polls_is_active,
                    a_silent_client_of_the_future_has_no_effect,
                    usage_is_counted_exactly,
                    clients_are_counted,
                    a_survey_has_the_log_and_how_far_active_clients_have_pulled,
                ]
                compaction: [
                    entries_go_that_were_received_at_the_cut_or_before,
                    the_clients_timestamps_do_not_matter,
                    a_clock_that_runs_backwards_keeps_the_order_of_reception,
                    the_order_of_reception_outlives_the_entries,
                    documents_and_known_ids_and_numbers_stay,
                    a_step_removes_so_many_entries_and_moves_the_horizon_with_them,
                    a_step_that_leaves_nothing_says_so,
                    a_compaction_without_time_does_one_step_and_is_gone_on_with,
                    silent_clients_are_forgotten,
                    clients_are_forgotten_in_steps_and_the_last_one_says_so,
                    clients_of_the_future_are_recalled_in_steps_and_the_last_one_says_so,
                    a_clock_that_ran_ahead_does_not_end_compaction,
                    a_clock_that_ran_ahead_is_mended_in_steps_that_keep_the_order,
                    pushes_between_the_steps_do_not_hold_up_a_compaction,
                    a_clock_that_ran_ahead_is_forgotten_with_the_entries,
                    a_client_seen_by_a_clock_that_ran_ahead_is_not_a_client_of_the_future,
                    a_pull_corrects_the_time_of_a_clock_that_ran_ahead,
                    a_revival_after_a_compaction_is_still_an_insert,
                ]
                tenants: [
                    no_request_reads_another_tenants_data,
                    the_same_names_of_two_tenants_are_different_things,
                    writes_and_compactions_leave_other_tenants_alone,
                    forgotten_clients_are_those_of_the_compacted_tenant,
                    a_cursor_of_another_tenant_is_reset,
                    tenants_with_similar_names_are_different_tenants,
                    tenants_are_listed_in_the_order_of_their_bytes,
                    tenants_are_listed_in_pages,
                    a_tenant_is_listed_from_its_first_commit_on_and_stays,
                    the_newest_places_of_tenants_come_in_their_order,
                ]
                operator: [
                    an_audit_has_the_log_with_all_that_is_kept_of_it,
                    an_audit_begins_after_the_horizon,
                    an_audit_is_bounded_in_entries_and_bytes,
                    known_ids_are_listed_in_the_order_of_their_bytes,
                    clients_and_owners_are_listed_together,
                    what_is_learned_is_known_and_has_no_entry,
                    a_tenant_that_has_only_learned_can_be_written_to,
                    owners_that_are_learned_take_nothing_from_others,
                    data_are_overwritten_in_a_part_of_the_log,
                    a_tenant_is_erased_in_steps_and_a_push_begins_a_new_log,
                    pushes_between_the_steps_of_an_erasure_find_a_whole_tenant,
                    an_erasure_leaves_other_tenants_alone,
                ]
                text: [
                    awkward_document_and_operation_ids_are_kept_apart,
                    awkward_collections_are_kept_apart,
                    awkward_clients_are_kept_apart,
                    awkward_tenants_are_kept_apart,
                    awkward_filters_are_only_compared,
                    data_is_kept_byte_for_byte,
                ]
            }
            service {
                conflicts: [
                    a_resolution_takes_the_place_of_its_operation_which_is_known,
                    an_operation_takes_effect_once_although_another_server_does_not_resolve_it,
                    a_merge_knows_the_writer_of_each_key_from_push_to_push,
                    a_collection_may_change_its_policy_between_pushes,
                    deleted_data_come_back_with_a_later_update_until_the_log_forgets_them,
                    a_delete_wins_over_a_later_edit_that_has_not_seen_it,
                    what_was_lost_is_kept_with_the_resolution_until_compaction,
                    what_was_lost_is_hidden_from_restricted_readers,
                    pushes_that_share_a_commit_see_each_others_resolutions,
                    a_write_of_the_server_takes_effect_under_every_policy,
                    pulls_of_every_kind_lead_to_the_resolved_document,
                    a_load_counts_the_stamps_of_documents,
                    an_application_resolves_conflicts_itself,
                    a_push_of_an_original_client_may_have_more_resolutions_than_fit_one_commit,
                    operations_that_cannot_be_decided_are_kept_in_a_bounded_quarantine,
                    an_operation_in_quarantine_is_whole_whatever_the_reason_for_it_has,
                ]
                hooks: [
                    an_observer_hears_of_each_request_with_its_own_principal,
                    an_observer_that_panics_changes_no_answer,
                    an_observer_hears_of_groups_and_of_what_is_refused,
                    an_operation_that_is_not_allowed_refuses_its_push_alone,
                    a_partial_push_is_done_without_what_is_refused,
                    a_write_of_the_server_that_is_not_allowed_changes_nothing,
                ]
                quota: [
                    a_push_beyond_a_quota_is_refused_and_changes_nothing,
                    what_makes_room_is_accepted_beyond_a_quota,
                    a_push_beyond_a_quota_does_not_take_its_neighbours_down,
                    the_server_itself_writes_beyond_a_quota,
                    a_client_beyond_the_quota_is_not_remembered,
                ]
                owners: [
                    a_client_belongs_to_the_subject_that_pushes_or_pulls_first,
                    a_push_of_another_subject_s_client_changes_nothing,
                    an_operation_of_another_subject_s_client_is_refused,
                    a_pull_of_another_subject_s_client_is_refused_and_notes_nothing,
                    a_pull_is_answered_if_its_client_cannot_be_claimed,
                    of_two_subjects_that_claim_a_client_at_once_one_is_refused,
                    of_two_subjects_that_claim_a_client_in_one_commit_the_second_is_refused,
                    a_refused_push_claims_nothing,
                    programs_of_the_operator_and_everybody_claim_nothing_and_are_not_refused,
                    clients_have_owners_up_to_a_quota,
                ]
                writes: [
                    a_write_of_the_server_is_an_operation_like_any_other,
                    a_write_that_asks_for_a_revision_changes_no_other,
                    two_servers_that_write_one_document_at_once_lose_nothing,
                    clients_and_the_server_edit_what_the_other_wrote,
                    a_client_does_not_take_a_later_write_of_the_server_for_one_that_it_has_seen,
                    a_write_that_fails_says_so_and_one_that_is_always_contended_gives_up,
                    a_document_whose_clock_is_full_is_left_as_it_is,
                ]
                schedule: [
                    one_of_several_servers_compacts_every_tenant,
                    of_servers_that_begin_at_once_one_compacts,
                    a_server_that_was_killed_is_followed_by_another,
                    a_tenant_that_fails_holds_up_no_other,
                    a_server_that_drains_leaves_the_rest_to_another,
                    the_schedule_leaves_no_trace_among_tenants_and_clients,
                ]
                retention: [
                    what_is_old_goes_and_is_counted,
                    by_default_nothing_goes,
                    a_step_for_another_log_changes_nothing,
                    a_client_that_was_seen_lately_misses_nothing_and_another_starts_again,
                    a_walk_over_old_documents_is_not_interrupted,
                    original_clients_lose_nothing_in_silence,
                    without_an_end_for_tombstones_original_clients_begin_again,
                    an_operation_whose_id_is_gone_is_covered_by_the_clock,
                    an_edit_of_a_document_whose_tombstone_is_gone_begins_it_again,
                    a_push_that_knows_revisions_from_before_the_floor_is_refused,
                    a_push_beside_a_step_of_retention_is_decided_again_or_comes_first,
                    the_bytes_of_tombstones_and_their_stamps_are_given_back,
                    steps_are_bounded_and_foretold,
                    other_tenants_keep_theirs,
                ]
                follow: [
                    a_follower_of_an_empty_log_gets_the_first_operation,
                    a_follower_gets_every_operation_in_order_and_continues_behind_its_cursor,
                    a_follower_that_dies_before_its_cursor_is_stored_sees_the_batch_again,
                    a_follower_is_told_that_history_was_removed_and_starts_again,
                    a_follower_that_has_seen_what_is_removed_continues,
                    a_follower_of_a_restored_log_starts_again,
                    a_follower_starts_again_from_no_documents,
                ]
                group: [
                    pushes_that_wait_together_share_a_commit_and_each_gets_its_answer,
                    one_operation_in_many_pushes_at_once_is_accepted_in_each,
                    a_refused_push_does_not_take_its_neighbours_down,
                    a_push_that_the_store_refuses_for_good_fails_alone,
                    a_group_that_takes_too_long_is_decided_push_by_push,
                    a_group_whose_commit_fails_after_it_was_written_is_accepted_once,
                    an_unavailable_store_fails_the_pushes_and_changes_nothing,
                    a_push_whose_answer_was_lost_can_be_repeated,
                    pushes_whose_clients_went_away_hold_up_nobody,
                    a_push_that_is_always_contended_gives_up,
                    a_contended_push_is_tried_again,
                    what_happens_between_decision_and_commit_is_decided_about_again,
                    a_group_is_bounded,
                    pushes_that_are_too_much_together_are_decided_apart,
                    a_commit_that_takes_its_time_blocks_no_other_tenant,
                    two_requests_of_one_client_at_once_share_no_since,
                    a_pull_that_is_always_contended_gives_up,
                    a_store_that_works_can_be_reached,
                ]
                notes: [
                    a_page_is_answered_if_it_cannot_be_noted,
                    a_page_is_answered_if_nothing_new_has_to_be_remembered,
                ]
                original: [
                    from_zero_the_log_is_delivered_in_its_order,
                    an_operation_that_comes_late_with_an_older_timestamp_is_delivered,
                    a_timestamp_in_the_far_future_hides_nothing,
                    equal_timestamps_are_not_lost_at_a_page_boundary,
                    no_since_stands_for_two_places,
                    places_at_the_greatest_timestamp_are_told_apart_by_doubles,
                    a_lost_answer_is_given_again,
                    a_since_in_use_outlives_many_lost_answers,
                    an_unknown_since_is_answered_from_the_beginning,
                    a_lost_answer_to_an_unknown_since_hides_nothing,
                    an_unknown_since_of_an_empty_log_hides_nothing,
                    an_unknown_since_is_answered_with_all_documents_after_a_compaction,
                    timestamps_of_0_lead_beyond_the_beginning,
                    a_forgotten_number_is_not_given_again,
                    numbers_beyond_the_greatest_timestamp_are_accepted,
                    from_zero_the_documents_are_delivered_if_history_is_gone,
                    the_horizon_may_pass_a_remembered_place,
                    the_last_places_are_remembered,
                    a_silent_client_is_never_forgotten,
                    a_client_that_polls_is_never_forgotten,
                    clients_have_places_of_their_own,
                    a_repeated_operation_keeps_a_page_below_the_limit,
                    a_run_longer_than_the_largest_page_is_delivered_in_parts,
                    places_of_another_log_lead_to_the_beginning,
                ]
                rules: [
                    a_reader_gets_exactly_the_documents_that_it_may_see,
                    a_document_that_leaves_a_list_leaves_its_devices,
                    a_place_that_a_reader_has_made_up_is_refused,
                    a_removal_is_for_devices_that_may_have_the_document,
                    a_forbidden_operation_changes_nothing_and_holds_up_no_other,
                    a_conflict_with_a_hidden_document_shows_nothing_of_it,
                    pushes_of_two_principals_that_share_a_commit_have_their_own_rights,
                    a_client_whose_grants_change_starts_again,
                    the_log_is_for_those_who_see_everything,
                    a_write_of_the_server_moves_a_document_between_lists,
                    a_later_import_takes_a_document_from_those_who_may_no_longer_see_it,
                ]
                revisions: [
                    an_operation_names_the_revision_that_its_author_saw,
                    clients_with_clocks_and_with_revisions_see_each_others_edits,
                    later_operations_of_a_push_have_seen_the_earlier_ones,
                    a_policy_resolves_operations_that_name_earlier_revisions,
                    a_client_gets_each_counter_from_one_server,
                    a_push_with_a_place_of_another_log_is_refused,
                    pushes_with_revisions_that_share_a_commit_see_each_other,
                    a_partial_push_with_revisions_is_done_without_what_is_refused,
                    a_full_clock_holds_up_no_client,
                    a_push_with_revisions_whose_answer_was_lost_takes_effect_once,
                ]
                operator: [
                    a_verification_finds_nothing_in_any_sound_tenant,
                    an_export_is_imported_into_another_tenant,
                    an_import_that_was_stopped_is_continued,
                    an_import_takes_later_states_and_refuses_other_ones,
                    an_import_that_is_only_tried_writes_nothing,
                    what_is_pushed_during_an_export_is_in_it,
                    original_clients_lose_nothing_by_a_move,
                    an_erased_document_leaves_no_data,
                    what_is_kept_beside_resolutions_is_counted_shown_and_erased,
                    a_moved_tenant_resolves_conflicts_as_before,
                    a_quarantine_is_not_a_tenant_of_its_own_for_an_operator,
                    the_history_of_a_document_is_read_in_parts,
                    a_client_that_is_forgotten_is_answered_from_the_beginning,
                    it_is_known_how_much_a_compaction_would_remove,
                    a_tenant_is_erased_with_all_that_belongs_to_it,
                ]
                erasing: [
                    a_full_clock_does_not_prevent_an_erasure,
                    rules_policies_and_checks_do_not_prevent_an_erasure,
                    an_erasure_waits_for_a_busy_store,
                    an_erasure_beside_a_compaction_counts_each_byte_once,
                ]
                quarantine: [
                    one_client_cannot_fill_the_quarantine_of_its_tenant,
                    pushes_of_one_client_at_the_same_moment_share_its_room_in_quarantine,
                    a_compaction_makes_room_in_the_quarantine,
                ]
                databases: [
                    two_tabs_of_one_client_miss_nothing,
                    a_restored_device_misses_nothing,
                    late_pushes_reach_a_client_that_was_silent_for_long,
                ]
            }
        }
    };
}

macro_rules! names {
    ($($group:ident { $($module:ident: [$($check:ident,)*])* })*) => {
        &[$($($(concat!(stringify!($group), "::", stringify!($module), "::", stringify!($check)),)*)*)*]
    };
}

/// The names of all checks, as `group::module::check`.
pub const CHECKS: &[&str] = for_each_conformance_check!(names =>);

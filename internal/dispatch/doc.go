// Package dispatch runs functions: [Lanes] hands the events of each lane to
// onWebhook, one at a time and in order, and commits their effects; [Polls]
// runs exec for what the schedule hands over. It decides about retries,
// waiting and dead letters. It does not know where deliveries come from nor
// how a function is executed.
package dispatch

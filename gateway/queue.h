/* SPDX-License-Identifier: MIT */
/*
 * queue: queued writes (HTTP API 9): taken and answered at once, written in batches.
 *
 * A request's statements are packed on the thread that received it and posted to gateway
 * thread 0, which owns the queue.  Repeated fields of a protobuf message may simply be
 * put behind one another, so a batch is its requests' bytes in a row.  One batch is under
 * way at a time, which keeps the order even when a batch has to be tried again.  While it
 * is, requests gather; without -write-queue-tx the next batch then takes all of them,
 * with it no more than -write-queue-batch-size, as they stand or fall together.
 *
 * When -write-queue-capacity requests wait, further ones get their answer only when there
 * is room.
 *
 * gateway_api_start(), _stop() and _free() of server.h are here, too.
 */
#ifndef GATEWAY_QUEUE_H
#define GATEWAY_QUEUE_H

#include "core/base/doc.h"
#include "gateway/http.h"
#include "gateway/params.h"
#include "gateway/server.h"

/* POST /db/execute?queue. */
void queue_request(struct http_exchange *x, const struct params *p);

/* The object http.queue of /status. */
void queue_status(struct gateway *g, struct doc *into);

#endif

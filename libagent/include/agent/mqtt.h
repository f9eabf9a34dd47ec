/* SPDX-License-Identifier: Apache-2.0 */
#ifndef AGENT_MQTT_H
#define AGENT_MQTT_H

#include <stddef.h>
#include <stdint.h>

#include <agent/common.h>
#include <agent/context.h>
#include <agent/error.h>
#include <agent/tls.h>

#ifdef __cplusplus
extern "C" {
#endif

/** enum agent_mqtt_state - where the connection stands: not running, trying, connected, waiting to try again. Since: 0.1 */
enum agent_mqtt_state { AGENT_MQTT_OFFLINE = 0, AGENT_MQTT_CONNECTING = 1, AGENT_MQTT_ONLINE = 2, AGENT_MQTT_WAITING = 3 };

/** enum agent_mqtt_flags - how a message is delivered: QoS 1 or QoS 2, not both; without either QoS 0, at most once. Since: 0.1 */
enum agent_mqtt_flags {
	AGENT_MQTT_QOS1 = 1u << 0,  /* at least once: kept and repeated until the broker acknowledged it */
	AGENT_MQTT_RETAIN = 1u << 1, /* the broker keeps it for later subscribers */
	AGENT_MQTT_QOS2 = 1u << 2   /* exactly once as far as agent_mqtt_publish() says, at least once otherwise */
};

/**
 * enum agent_mqtt_version - what is spoken: MQTT 3.1.1 (OASIS Standard, 29 October 2014), MQTT 5 (OASIS Standard, 7 March 2019), or 5 until a broker
 * says that it does not know it, and 3.1.1 with that one from then on. Since: 0.1
 */
enum agent_mqtt_version { AGENT_MQTT_3_1_1 = 0, AGENT_MQTT_5 = 1, AGENT_MQTT_ANY = 2 };

/**
 * struct agent_mqtt_broker - one more broker
 * @host: DNS name or IP literal
 * @port: usually 8883
 * @tls:  profile made for this host; referenced
 *
 * Since: 0.1
 */
struct agent_mqtt_broker {
	const char *host;
	uint16_t port;
	struct agent_tls *tls;
};

/**
 * struct agent_mqtt_options - brokers, and how to talk to them, over TLS; strings are copied; 0 and NULL are good for what comes after @queue_max_bytes
 * @host:          of the first broker: DNS name or IP literal
 * @port:          usually 8883
 * @client_id:     1 to 65535 bytes of UTF-8
 * @keepalive_s:   5 to 3600: how long the connection may be silent before we ask for a sign of life
 * @backoff_min_ms: after n failures in a row (0 at first) a random time up to min(max, min * 2^n) passes: full jitter, with a
 *                 floor of min / 10; a connection that lasted a minute makes n 0 again
 * @backoff_max_ms: not below @backoff_min_ms, up to 86400000
 * @will_topic:    or NULL; retained there, QoS 1:
 * @will_payload:  by the broker when the connection is lost, by us when agent_mqtt_stop() ends it
 * @birth_payload: by us after each connect, or NULL
 * @queue_max_messages: messages in RAM until sent (QoS 0) or acknowledged (QoS 1 and 2)
 * @queue_max_bytes:    topics and payloads of these together; also the largest single message
 * @brokers:       tried in this order after the first one, @n_brokers up to 7. A round is one attempt at each; the back-off grows from round to round. A
 *                 redirection (MQTT 5, section 4.13) is followed to brokers of this list only
 * @return_s:      the first broker must have been there for about this long, as seen with TCP, before a connection to another one is left for it; 0: 600
 * @version:       enum agent_mqtt_version
 * @session_s:     the broker keeps subscriptions and messages for us for so long after the connection broke (with 3.1.1 for as long as it likes); 0: not at all
 * @username:      or NULL
 * @alpn:          TLS protocol name (RFC 7301) to ask for, up to 64 bytes, or NULL
 * @keepalive_min_s, @keepalive_max_s: @keepalive_s is where we begin, and time and again the silence is made longer after it went well or shorter after the
 *                 connection was found dead, between these. The broker is told the longest. 0: always @keepalive_s
 * @max_packet:    longest packet that the broker may send; told with MQTT 5, and with any version a broker that sends a longer one is left before it was
 *                 kept (mqtt.packet-size). 0: any, which is up to 256 MiB of memory
 * @no_retain:     will and birth are not retained
 *
 * Since: 0.1
 */
struct agent_mqtt_options {
	const char *host;
	uint16_t port;
	const char *client_id;
	unsigned keepalive_s;
	unsigned backoff_min_ms;
	unsigned backoff_max_ms;
	const char *will_topic;
	const char *will_payload;
	const char *birth_payload;
	size_t queue_max_messages;
	size_t queue_max_bytes;
	const struct agent_mqtt_broker *brokers;
	size_t n_brokers;
	unsigned return_s;
	enum agent_mqtt_version version;
	uint32_t session_s;
	const char *username;
	const char *alpn;
	unsigned keepalive_min_s, keepalive_max_s;
	uint32_t max_packet;
	int no_retain;
};

/**
 * struct agent_mqtt_info - what there is to see; numbers count since agent_mqtt_new()
 * @broker:           number of the broker in use or tried last, 0 for the first; @host and @port of it
 * @version:          AGENT_MQTT_3_1_1 or AGENT_MQTT_5
 * @session_present:  the broker had kept our session
 * @keepalive_s:      longest silence now
 * @n_connects:       connections that a broker accepted
 * @n_handshakes:     TLS handshakes that were begun
 * @payload_sent:     payload of messages, each time one was sent, and @payload_received
 * @wire_sent:        bytes of TLS with all overhead, without TCP/IP, and @wire_received
 *
 * Since: 0.1
 */
struct agent_mqtt_info {
	size_t broker;
	char host[256];
	uint16_t port;
	enum agent_mqtt_version version;
	int session_present;
	unsigned keepalive_s;
	uint64_t n_connects, n_handshakes;
	uint64_t payload_sent, payload_received;
	uint64_t wire_sent, wire_received;
};

/**
 * struct agent_mqtt_handlers - called in the thread of agent_mqtt_run(), never with a lock held; each may be NULL
 * @state:   the state changed; @why says what ended the last connection or attempt, NULL otherwise, lent for the call.
 *           Called again with AGENT_MQTT_ONLINE and mqtt.subscribe when the broker refuses a subscription, mqtt.qos when it takes less than was asked for
 *           (once for each broker), mqtt.gap when a message with QoS 2 was lost with an earlier client
 * @acked:   message @id is out: written for QoS 0, PUBACK received for QoS 1, PUBCOMP for QoS 2
 * @message: a subscribed message arrived; pointers are lent for the call
 * @refused: message @id is given up: the broker does not take it (MQTT 5 only: with 3.1.1 a broker cannot say so) or the connection cannot carry
 *           it; @why is lent. What may go better later is tried five times on one connection before; a quota that is used up is waited for
 *
 * Handlers may publish, subscribe and stop. Since: 0.1
 */
struct agent_mqtt_handlers {
	void (*state)(void *userdata, enum agent_mqtt_state state, const struct agent_error *why);
	void (*acked)(void *userdata, uint64_t id);
	void (*message)(void *userdata, const char *topic, const void *payload, size_t size);
	void (*refused)(void *userdata, uint64_t id, const struct agent_error *why);
};

/** struct agent_mqtt - a client that stays connected; one owner. Since: 0.1 */
struct agent_mqtt;

/**
 * agent_mqtt_new() - make a client; nothing is sent before agent_mqtt_run()
 * @ctx:      referenced
 * @tls:      profile of the first broker, made for the same host; referenced
 * @options:  copied
 * @handlers: copied; or NULL
 * @userdata: handed to @handlers
 *
 * Returns 0, -EINVAL (mqtt.options: which one is out of range), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_mqtt_new(struct agent_context *ctx, struct agent_tls *tls,
						 const struct agent_mqtt_options *options, const struct agent_mqtt_handlers *handlers,
						 void *userdata, struct agent_mqtt **ret_mqtt, struct agent_error **err);
/**
 * agent_mqtt_run() - connect, stay connected, reconnect after every kind of failure, until agent_mqtt_stop()
 *
 * Blocks; meant for a thread of the caller with all signals blocked, and the only function that uses the network, the
 * TLS profile and its signer. A signature blocks it as long as the signer does; name resolution as long as the system's
 * resolver does. SIGPIPE is kept from the process while it runs.
 *
 * Returns 0 after a stop, -EBUSY when it runs already, -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_mqtt_run(struct agent_mqtt *mqtt, struct agent_error **err);
/**
 * agent_mqtt_reconnect() - leave the broker and connect again at once, for example after agent_tls_set_identity()
 * @mqtt: the client; NULL is ignored
 *
 * Queued messages and subscriptions stay; the broker does not announce the will. Ends a wait between two attempts. From any
 * thread, also from a handler; does not block. Since: 0.1
 */
AGENT_EXPORT void agent_mqtt_reconnect(struct agent_mqtt *mqtt);
/**
 * agent_mqtt_reject() - the caller found out that the connection carries nothing, though the broker keeps it: leave it as a failed one
 * @mqtt:     the client; NULL is ignored
 * @was_good: something came through on this connection before, so it counts as one that broke; 0: as an attempt that failed, and the next broker is
 *            tried where there are several
 *
 * The state handler hears AGENT_MQTT_WAITING with mqtt.deaf, and the back-off goes on. Without a connection it does nothing. From any thread, also from a
 * handler; does not block. Since: 0.1
 */
AGENT_EXPORT void agent_mqtt_reject(struct agent_mqtt *mqtt, int was_good);
/** agent_mqtt_stop() - end agent_mqtt_run(), also a coming one; may be called from any thread or a signal handler. Since: 0.1 */
AGENT_EXPORT void agent_mqtt_stop(struct agent_mqtt *mqtt);
/**
 * agent_mqtt_publish() - queue a message
 * @topic:   without wildcards; copied
 * @payload: copied; may be NULL when @size is 0
 * @flags:   enum agent_mqtt_flags
 * @ret_id:  comes back in the acked handler; or NULL
 *
 * Any thread; never blocks on the network. Messages leave in the order they were queued. A QoS 1 message that was sent but not
 * acknowledged when the connection broke is sent again, so a receiver may see it twice. The queue is lost with the process.
 *
 * With QoS 2 it arrives once exactly if session_s is set, and the broker keeps the session until PUBCOMP, and it is not another broker by then, nor another
 * certificate or client; else it is sent again as with QoS 1. A session from before this client is ended before the first message with QoS 2 is sent: what the broker
 * kept in it is lost, and session_present is 0 then. MQTT 5, section 4.3.3. A broker that takes less gets less.
 *
 * Returns 0, -EINVAL (mqtt.topic, mqtt.options), -EDQUOT (mqtt.full), -EMSGSIZE (larger than the queue), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_mqtt_publish(struct agent_mqtt *mqtt, const char *topic, const void *payload, size_t size,
						     unsigned flags, uint64_t *ret_id, struct agent_error **err);
/**
 * agent_mqtt_publish_ttl() - as agent_mqtt_publish(), for a message that is of no use after @ttl_s
 * @ttl_s: seconds, 0: for ever
 *
 * With MQTT 5 the broker is told what is left (message expiry interval) and forgets it then; it is sent in any case, and with 3.1.1 kept for ever.
 * Returns as agent_mqtt_publish(). Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_mqtt_publish_ttl(struct agent_mqtt *mqtt, const char *topic, const void *payload, size_t size,
							 unsigned flags, uint32_t ttl_s, uint64_t *ret_id, struct agent_error **err);
/**
 * agent_mqtt_subscribe() - receive what matches @filter; remembered and repeated after each reconnect
 *
 * Any thread; never blocks on the network. @qos is 0, 1 or 2, and the broker may grant less. At most 64 filters.
 * Returns 0, -EINVAL (mqtt.topic), -EDQUOT (mqtt.full), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT AGENT_MUST_CHECK int agent_mqtt_subscribe(struct agent_mqtt *mqtt, const char *filter, int qos, struct agent_error **err);
/**
 * agent_mqtt_unsubscribe() - receive no more what matched @filter, as given to agent_mqtt_subscribe()
 *
 * Any thread; never blocks on the network. Messages that are under way may still arrive. One that was not subscribed is fine.
 * Returns 0, -EINVAL (mqtt.topic), -ENOMEM. Since: 0.1
 */
AGENT_EXPORT int agent_mqtt_unsubscribe(struct agent_mqtt *mqtt, const char *filter, struct agent_error **err);
/** agent_mqtt_get_state() - where the connection stands; any thread. Since: 0.1 */
AGENT_EXPORT enum agent_mqtt_state agent_mqtt_get_state(const struct agent_mqtt *mqtt);
/** agent_mqtt_get_info() - broker in use and counters; any thread. Since: 0.1 */
AGENT_EXPORT void agent_mqtt_get_info(struct agent_mqtt *mqtt, struct agent_mqtt_info *ret_info);
/** agent_mqtt_free() - free, when agent_mqtt_run() has returned; takes NULL, returns NULL. Since: 0.1 */
AGENT_EXPORT struct agent_mqtt *agent_mqtt_free(struct agent_mqtt *mqtt);

#ifdef __cplusplus
}
#endif

#endif

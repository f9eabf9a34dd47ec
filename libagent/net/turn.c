/* SPDX-License-Identifier: Apache-2.0 */
#include "net/turn.h"

#define STEADY_MS 60000		/* a connection that lasted this long was good: the back-off starts anew */
#define ROUNDS_MAX 32

unsigned turn_failed(struct turn *turn, uint64_t online_ms)
{
	unsigned step;

	turn->n_sent_on = 0;
	turn->n_good = 0;
	if (turn->is_returning && online_ms < STEADY_MS && turn->n_returns_failed < TURN_SLOWER_MAX)
		turn->n_returns_failed++;
	else if (online_ms >= STEADY_MS && turn->at == 0)
		turn->n_returns_failed = 0;
	turn->is_returning = false;
	if (online_ms >= STEADY_MS)
		turn->n_rounds = 0;
	/* One that was taken and thrown out again ends a round, too: or two brokers that do so would be visited without end. */
	if (online_ms == 0 && turn->at + 1 < turn->n) {
		turn->at++;
		return 0;
	}
	turn->at = 0;
	step = turn->n_rounds;
	if (turn->n_rounds < ROUNDS_MAX)
		turn->n_rounds++;
	return step;
}

bool turn_send_on(struct turn *turn, size_t to, uint64_t online_ms)
{
	if (online_ms >= STEADY_MS)
		turn->n_sent_on = 0;
	if (to >= turn->n || ++turn->n_sent_on > turn->n)
		return false;
	turn->at = to;
	return true;
}

void turn_return(struct turn *turn)
{
	turn->at = 0;
	turn->n_good = 0;
	turn->is_returning = true;
}

void turn_online(struct turn *turn)
{
	turn->n_good = 0;
}

uint64_t turn_look_ms(const struct turn *turn, uint64_t return_ms, uint64_t random)
{
	uint64_t gap = (return_ms / TURN_LOOKS) << turn->n_returns_failed;

	return gap + random % (gap / 4 + 1);
}

bool turn_looked(struct turn *turn, bool is_good)
{
	turn->n_good = is_good ? turn->n_good + 1 : 0;
	return turn->n_good >= TURN_LOOKS;
}

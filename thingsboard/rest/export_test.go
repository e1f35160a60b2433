package rest

import "time"

// Timeout is how long a whole request of this client may take.
func (c *Client) Timeout() time.Duration { return c.config.Timeout }

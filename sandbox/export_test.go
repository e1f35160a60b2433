package sandbox

// Leftovers counts what the MQTT server keeps of clients: those that it knows,
// and their subscriptions.
func (s *Server) Leftovers() int {
	server := s.broker.server
	return server.Clients.Len() + int(server.Info.Clone().Subscriptions)
}

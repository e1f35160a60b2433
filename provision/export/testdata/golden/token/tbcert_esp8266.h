/*
 * How this device reaches ThingsBoard over MQTTS, for Arduino on the ESP8266 (BearSSL). Written by tbcert. It
 * holds the device's secret: keep it out of version control. Whoever has the chip can read it from the flash.
 *
 *   #include <WiFiClientSecure.h>
 *   #include <PubSubClient.h>
 *   #include "tbcert_esp8266.h"
 *
 *   BearSSL::WiFiClientSecure secure;
 *   PubSubClient mqtt(secure);
 *   ...
 *   tbcertTrust(secure);
 *   if (tbcertConnect(mqtt)) mqtt.publish(TBCERT_TOPIC, "{\"temperature\":25}");
 *
 * Set the clock first, with configTime(): BearSSL checks the dates of certificates.
 */
#ifndef TBCERT_ESP8266_H
#define TBCERT_ESP8266_H

#include <WiFiClientSecure.h>
#include <pgmspace.h>

static const char TBCERT_DEVICE[] = "gate-1";
static const char TBCERT_HOST[] = "tb.example.com";
static const unsigned short TBCERT_PORT = 8883;
static const char TBCERT_TOPIC[] = "v1/devices/me/telemetry";
static const char TBCERT_CLIENT_ID[] = "gate-1";
static const char TBCERT_USERNAME[] = "A1_TEST_TOKEN";

static const char TBCERT_CA_ROOT[] PROGMEM =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBhjCCASygAwIBAgIRAIY7yMEZF0/TxdGa8klzKKwwCgYIKoZIzj0EAwIwITEf\n"
    "MB0GA1UEAxMWdGIuZXhhbXBsZS5jb20gUm9vdCBDQTAeFw0yNjExMjMwMjUzMjBa\n"
    "Fw00NjExMjQwMjUzMjBaMCExHzAdBgNVBAMTFnRiLmV4YW1wbGUuY29tIFJvb3Qg\n"
    "Q0EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAATDcB1C5+1/BAkMxicFLPA5wXaR\n"
    "L+yJAIsMvYRtfp5Xbsbin6ZMTA040svTA0+ViHjxsoB8IbXuot0rpjCd4VZ5o0Uw\n"
    "QzAOBgNVHQ8BAf8EBAMCAQYwEgYDVR0TAQH/BAgwBgEB/wIBATAdBgNVHQ4EFgQU\n"
    "1OYmkeX5pCpQ5DXVlYzLtFCMb7MwCgYIKoZIzj0EAwIDSAAwRQIgCIMNVMMcKCH6\n"
    "RNxnDTwPQzaYigMqp0shIoHlpYkUieQCIQDKA8XmooVaLoaHI9EdJ4p68IuRosKt\n"
    "7L95Vls2pQiKmw==\n"
    "-----END CERTIFICATE-----\n";

// Makes a client trust the site's root. The objects stay as long as the program.
inline void tbcertTrust(BearSSL::WiFiClientSecure &client) {
  static BearSSL::X509List roots(TBCERT_CA_ROOT);
  client.setTrustAnchors(&roots);
}

// Connects a PubSubClient as this device.
template <class Mqtt> bool tbcertConnect(Mqtt &mqtt) {
  mqtt.setServer(TBCERT_HOST, TBCERT_PORT);
  return mqtt.connect(TBCERT_CLIENT_ID, TBCERT_USERNAME, nullptr);
}

#endif

/*
 * How this device reaches ThingsBoard over MQTTS, for ESP-IDF 5 and later. Written by tbcert. It holds the
 * device's secret: keep it out of version control. What is compiled in stands in the flash, where whoever
 * has the chip can read it unless flash encryption is on.
 *
 *   #include "tbcert_esp32.h"
 *
 *   esp_mqtt_client_config_t config = {0};
 *   tbcert_mqtt_config(&config);
 *   esp_mqtt_client_handle_t client = esp_mqtt_client_init(&config);
 *
 * Set the clock first (SNTP): a certificate is not valid in 1970.
 */
#ifndef TBCERT_ESP32_H
#define TBCERT_ESP32_H

#define TBCERT_DEVICE "gate-1"
#define TBCERT_HOST "tb.example.com"
#define TBCERT_PORT 8883
#define TBCERT_TOPIC "v1/devices/me/telemetry"
#define TBCERT_CLIENT_ID "gate-1"
#define TBCERT_USERNAME "user-1"
#define TBCERT_PASSWORD "pass-1"

/* PEM, with its terminating zero: sizeof is the length that mbedTLS wants. */
static const char tbcert_ca_root[] =
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

#if __has_include("mqtt_client.h")
#include "mqtt_client.h"

/* Sets what the connection needs in a configuration that is zero otherwise. */
static inline void tbcert_mqtt_config(esp_mqtt_client_config_t *config)
{
    config->broker.address.hostname = TBCERT_HOST;
    config->broker.address.port = TBCERT_PORT;
    config->broker.address.transport = MQTT_TRANSPORT_OVER_SSL;
    config->broker.verification.certificate = tbcert_ca_root;
    config->credentials.client_id = TBCERT_CLIENT_ID;
    config->credentials.username = TBCERT_USERNAME;
    config->credentials.authentication.password = TBCERT_PASSWORD;
}
#endif

#endif

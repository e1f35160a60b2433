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

static const char tbcert_certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBqTCCAU6gAwIBAgIRALMd13Jvq61kb00+c+PI55gwCgYIKoZIzj0EAwIwIzEh\n"
    "MB8GA1UEAxMYdGIuZXhhbXBsZS5jb20gRGV2aWNlIENBMB4XDTI2MTEyMzAyNTMy\n"
    "MFoXDTI4MTEyMzAyNTMxOVowETEPMA0GA1UEAxMGZ2F0ZS0xMFkwEwYHKoZIzj0C\n"
    "AQYIKoZIzj0DAQcDQgAEQAempY7hyMGzIOeR5bAxAiLXPIirLk2CgvwXLiC9Ykud\n"
    "g7xnNmD0ilzlDEf1zaWTtFxzIM78E92M/NY8ifRBPKN1MHMwDgYDVR0PAQH/BAQD\n"
    "AgeAMBMGA1UdJQQMMAoGCCsGAQUFBwMCMAwGA1UdEwEB/wQCMAAwHQYDVR0OBBYE\n"
    "FMFfiFZ6qZt1l91kaL3deZ8RZIt3MB8GA1UdIwQYMBaAFPh+VnrxYgl5h6MxDpwE\n"
    "iQ5ENhzBMAoGCCqGSM49BAMCA0kAMEYCIQCkK6aFD2LR8quzJuK1BeyqZ8H1zmJV\n"
    "/qNwKNaHwp9CVQIhAO3a9EWDYwRM1CaDAlpeUvt8AbQiR/1stKx0/bZwBSmA\n"
    "-----END CERTIFICATE-----\n"
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBvTCCAWOgAwIBAgIQRZjl6nAvmtWILv5f3CgDkjAKBggqhkjOPQQDAjAhMR8w\n"
    "HQYDVQQDExZ0Yi5leGFtcGxlLmNvbSBSb290IENBMB4XDTI2MTEyMzAyNTMyMFoX\n"
    "DTM2MTEyNDAyNTMyMFowIzEhMB8GA1UEAxMYdGIuZXhhbXBsZS5jb20gRGV2aWNl\n"
    "IENBMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgseaFHE4HDjg4YzBRfzF4u5d\n"
    "bKPRq9AjOg+ngH14IOWcHsYwfA4sUyOsd5w1EU2xBRlbk0bxj4O4J6MWDgCEoqN7\n"
    "MHkwDgYDVR0PAQH/BAQDAgEGMBMGA1UdJQQMMAoGCCsGAQUFBwMCMBIGA1UdEwEB\n"
    "/wQIMAYBAf8CAQAwHQYDVR0OBBYEFPh+VnrxYgl5h6MxDpwEiQ5ENhzBMB8GA1Ud\n"
    "IwQYMBaAFNTmJpHl+aQqUOQ11ZWMy7RQjG+zMAoGCCqGSM49BAMCA0gAMEUCIQDl\n"
    "gRpyzg52U0mrSJ4Qezkrjt/GvkpvJPX4/GJ20ZUYXwIgcohbYKaWsKMoGX/Qu5mO\n"
    "SqJxBt9PQB/ywiwNJIepAQ0=\n"
    "-----END CERTIFICATE-----\n";

static const char tbcert_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgurSB3TxOdWOkpyjW\n"
    "ZeykAtNL3QLORKXogTRBVFhUM2ChRANCAARAB6aljuHIwbMg55HlsDECItc8iKsu\n"
    "TYKC/BcuIL1iS52DvGc2YPSKXOUMR/XNpZO0XHMgzvwT3Yz81jyJ9EE8\n"
    "-----END PRIVATE KEY-----\n";

#if __has_include("mqtt_client.h")
#include "mqtt_client.h"

/* Sets what the connection needs in a configuration that is zero otherwise. */
static inline void tbcert_mqtt_config(esp_mqtt_client_config_t *config)
{
    config->broker.address.hostname = TBCERT_HOST;
    config->broker.address.port = TBCERT_PORT;
    config->broker.address.transport = MQTT_TRANSPORT_OVER_SSL;
    config->broker.verification.certificate = tbcert_ca_root;
    config->credentials.authentication.certificate = tbcert_certificate;
    config->credentials.authentication.key = tbcert_key;
}
#endif

#endif

#pragma once
#define PROGMEM
